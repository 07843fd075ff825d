"""extend: more trials, models, datasets, seeds, epochs or budget; what was done is not done again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from scripted import scripted

from segsweep.orchestrator.backends.in_process import InProcess
from segsweep.orchestrator.backends.simulated import Simulated
from segsweep.orchestrator.checking.reproduction import as_yaml, search_space
from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.driving.recorded import recorded
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.launching.extension import extend
from segsweep.orchestrator.launching.launch import Machinery, create
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.record.journal import EpochDone, Journal, SweepExtended, TrialCreated, read_events
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.space.source import parse
from segsweep.orchestrator.tracking.records import sweep_uid
from segsweep.orchestrator.tracking.writer import sync
from segsweep.trainables.config import TrialConfig

SPACE = """
name: day
datasets: [{type: streets, size: [48, 80], train: 4, val: 2, test: 2}]
models: [{architecture: unet, encoder: resnet18}]
trials: 4
epochs: 4
batch_size: 4
image_size: [48, 80]
"""
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # MLflow imports pydantic, starlette and sqlalchemy features that are going away
    "ignore::ResourceWarning",  # its SQLite connections are closed by the garbage collector
)
HERE = Machinery(in_process=True, quiet=True)


@pytest.fixture(autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One store and one cache for all, since a new one takes seconds."""
    shared = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("SEGSWEEP_CACHE", str(shared / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared / 'extend.db'}")


def silent(_: str) -> None:
    """Announces nothing."""


def created(folder: Path, space: str) -> Path:
    return create(check(parse(space, "space.yaml")), folder / "sweeps", None, HERE, silent)


def finish(folder: Path, workers: int = 1) -> Sweep:
    """Run what is missing, with scripted trials; a driver that takes up the sweep as `resume` does."""
    backend = Simulated(workers) if workers > 1 else InProcess()
    with Journal(folder / "journal.jsonl", fsync=False) as journal:
        sweep = Sweep(SweepPlan.of(recorded(folder).spec), journal)
        sweep.interrupted("its driver died", lost="driver")
        backend.run(sweep, scripted())
    return sweep


def extended(folder: Path, **wishes: Any) -> SweepExtended:
    return extend(folder, wishes, HERE, silent)


def epochs_trained(folder: Path) -> Counter[str]:
    return Counter(event.trial for event, _ in read_events(folder / "journal.jsonl") if isinstance(event, EpochDone))


def statuses(sweep: Sweep) -> Counter[str]:
    return Counter(trial.status for trial in sweep.state.trials.values())


@pytest.mark.parametrize("workers", [1, 3])
def test_more_trials_only_run_those(tmp_path: Path, workers: int) -> None:
    folder = created(tmp_path, SPACE)
    finish(folder, workers)
    before = epochs_trained(folder)
    event = extended(folder, trials=10)
    assert event.change == "trials 4 -> 10"
    sweep = finish(folder, workers)
    assert len(sweep.state.trials) == 10
    assert sweep.over
    after = epochs_trained(folder)
    finished_before = [t for t in before if before[t] == 4]
    assert all(after[trial] == before[trial] for trial in finished_before)
    assert after.total() > before.total()


def test_a_model_a_dataset_and_a_seed_fill_new_cells(tmp_path: Path) -> None:
    folder = created(tmp_path, SPACE)
    finish(folder)
    event = extended(
        folder,
        models=["fpn"],
        datasets=[{"type": "streets", "name": "night", "variant": "night", "size": [48, 80], "train": 4, "val": 2}],
        seeds=[1],
    )
    assert event.change == "datasets + night, models + fpn/resnet34, seeds + 1"
    sweep = finish(folder)
    assert len(sweep.plan.cells) == 4
    assert all(sweep.state.count(cell, "finished") for cell in sweep.plan.cells)
    assert len(sweep.state.trials) == 4 * 2 * 4


def test_a_constant_lr_goes_on_where_it_ended(tmp_path: Path) -> None:
    folder = created(tmp_path, SPACE + "lr_schedules: [constant]\nscheduler: fifo\n")
    finish(folder)
    event = extended(folder, epochs=7)
    assert event.continues == ("001", "002", "003", "004")
    sweep = finish(folder)
    assert epochs_trained(folder) == Counter({f"00{i}": 7 for i in range(1, 5)})  # no epoch twice
    assert {(t.status, t.epoch, t.config.epochs) for t in sweep.state.trials.values()} == {("finished", 7, 7)}


def test_a_scheduled_lr_is_trained_anew_with_its_values_and_marked(tmp_path: Path) -> None:
    folder = created(tmp_path, SPACE + "scheduler: fifo\n")
    finish(folder)
    event = extended(folder, epochs=6)
    assert event.anew == ("001", "002", "003", "004")
    sweep = finish(folder)
    trials = sweep.state.trials
    assert statuses(sweep) == {"superseded": 4, "finished": 4}
    made = [event for event, _ in read_events(folder / "journal.jsonl") if isinstance(event, TrialCreated)]
    renewed = {event.trial: event.anew for event in made if event.anew}
    assert renewed == {"005": "001", "006": "002", "007": "003", "008": "004"}
    for new, old in renewed.items():
        assert trials[new].values == trials[old].values
        assert (trials[new].config.epochs, trials[old].config.epochs) == (6, 4)
    assert "its LR schedule ended with epoch 4" in trials["001"].reason


def test_what_was_stopped_is_not_trained_anew_and_does_not_hold_up_its_rung(tmp_path: Path) -> None:
    folder = created(tmp_path, SPACE.replace("trials: 4", "trials: 9"))
    first = finish(folder)
    stopped = [t.id for t in first.state.trials.values() if t.status == "stopped"]
    assert stopped
    event = extended(folder, epochs=9)
    assert list(event.dropped) == stopped
    sweep = finish(folder)
    assert sweep.over
    assert len(sweep.state.trials) == 18 - len(stopped)
    assert sweep.state.count(next(iter(sweep.plan.cells)), "finished") >= 1
    assert not sweep.state.count(next(iter(sweep.plan.cells)), "paused")


@pytest.mark.parametrize("space", [SPACE, SPACE + "lr_schedules: [constant]\n"])
def test_an_extended_sweep_replays_to_the_same_state(tmp_path: Path, space: str) -> None:
    folder = created(tmp_path, space)
    finish(folder)
    extended(folder, epochs=6, trials=6)
    sweep = finish(folder)
    state = SweepState.load(folder / "journal.jsonl")
    assert {t.id: (t.status, t.epoch, t.config) for t in state.trials.values()} == {
        t.id: (t.status, t.epoch, t.config) for t in sweep.state.trials.values()
    }
    size = (folder / "journal.jsonl").stat().st_size
    finish(folder)  # nothing is left to do
    assert (folder / "journal.jsonl").stat().st_size == size


def test_a_larger_budget_lets_it_go_on(tmp_path: Path) -> None:
    folder = created(tmp_path, SPACE + "scheduler: fifo\nbudget: {epochs: 8}\n")
    assert finish(folder).halted
    extended(folder, budget={"epochs": 12})
    assert finish(folder).state.epochs.total() == 12
    extended(folder, budget=None)
    assert statuses(finish(folder)) == {"finished": 4}


@pytest.mark.parametrize(
    ("more", "wishes", "message"),
    [
        ("", {}, "extend: needs at least one of --trials"),
        ("", {"trials": 4}, "--trials: must be more than the 4 that the sweep has, or +N, not 4"),
        ("", {"epochs": 2}, "--epochs: must be more than the 4"),
        ("", {"models": ["unett"]}, "extend day-1: models[1].architecture: no architecture 'unett'"),
        ("", {"models": [{"architecture": "unet", "encoder": "resnet18"}]}, "is already the name of models[0]"),
        ("", {"seeds": [0]}, "a seed is given twice"),
        ("", {"budget": {"epochs": 2}}, "budget.epochs: must be at least 4"),
        ("scheduler: hyperband\n", {"epochs": 9}, "--epochs: hyperband's brackets follow from the epochs"),
    ],
)
def test_what_cannot_be_extended_is_refused_and_nothing_written(
    tmp_path: Path, more: str, wishes: dict[str, Any], message: str
) -> None:
    folder = created(tmp_path, SPACE + more)
    before = (folder / "journal.jsonl").read_bytes()
    with pytest.raises(InputError) as error:
        extended(folder, **wishes)
    assert message in str(error.value)
    assert (folder / "journal.jsonl").read_bytes() == before


FULL = """
datasets: [{type: streets, name: day, image_size: [64, 96]}, {type: streets, name: night, variant: night}]
models:
  - {architecture: unet, encoder: resnet18, lr_schedules: [constant], batch_size: 4}
  - {architecture: segformer, encoder: mit_b0, recipe: segformer}
  - {architecture: unet, encoder: {choice: [resnet18, resnet34]}, name: searched}
losses: [dice, {dice: 0.5, cross_entropy: 1.0}]
optimizers: [{type: adamw, lr: {loguniform: [1.0e-5, 1.0e-2]}}, sgd]
augmentations: [light]
seeds: [3, 4]
trials: 2
epochs: 9
batch_size: {choice: [4, 8]}
image_size: [48, 80]
objective: {metric: val_dice}
constraints: {params_m: {max: 30}}
evaluation: {flip: true}
scheduler: {type: asha, grace: 3}
searcher: {type: tpe, seed: 4}
resources: {cpus: 2, gpus: 0}
budget: {epochs: 1000}
"""


def test_a_spec_becomes_a_file_and_the_file_the_spec() -> None:
    spec = check(parse(FULL, "full.yaml")).spec
    text = as_yaml(search_space(spec), [])
    assert check(parse(text, "full.yaml")).spec == spec


@pytest.mark.parametrize(("schedule", "status"), [("constant", "finished"), ("poly", "superseded")])
def test_mlflow_holds_each_epoch_once_and_what_became_of_old_trials(tmp_path: Path, schedule: str, status: str) -> None:
    folder = created(tmp_path, SPACE + f"lr_schedules: [{schedule}]\nscheduler: fifo\n")
    finish(folder)
    sync(folder)  # knows them with the old limit
    extended(folder, epochs=6)
    finish(folder)
    sync(folder)
    client = MlflowClient()
    store = recorded(folder).created
    experiment = client.get_experiment_by_name(store.experiment)
    assert experiment is not None
    mine = f"tags.`segsweep.sweep_uid` = '{sweep_uid(store)}' and tags.`segsweep.kind` = 'trial'"
    runs = {run.data.tags["segsweep.trial_id"]: run for run in client.search_runs([experiment.experiment_id], mine)}
    assert len(runs) == (4 if schedule == "constant" else 8)
    first = runs["001"]
    assert first.data.tags["segsweep.status"] == status
    assert TrialConfig.model_validate_json(first.data.tags["segsweep.config"]).epochs == (
        6 if schedule == "constant" else 4
    )
    for id_, trial in SweepState.load(folder / "journal.jsonl").trials.items():
        steps = [point.step for point in client.get_metric_history(runs[id_].info.run_id, "val_miou")]
        assert sorted(steps) == list(range(1, trial.epoch + 1))
