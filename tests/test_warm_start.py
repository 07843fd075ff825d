"""warm_start: the best values of earlier sweeps are tried first, where they fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted import plan_of, scripted

from segsweep.orchestrator.backends.in_process import InProcess
from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.driving.recorded import recorded
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.launching.launch import Machinery, create
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.planning.warm_start import known_values
from segsweep.orchestrator.record.journal import Journal
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.space.source import parse

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of MLflow

SPACE = """
name: old
datasets: [{type: streets, name: day, size: [48, 80], train: 4, val: 2, test: 2}]
models: [{architecture: unet, encoder: resnet18}]
optimizers: [{type: adamw, lr: {loguniform: [1.0e-5, 1.0e-1]}, weight_decay: {uniform: [0.0, 0.1]}}]
trials: 6
epochs: 2
batch_size: 4
image_size: [48, 80]
scheduler: fifo
"""


def run(folder: Path, plan: SweepPlan) -> SweepState:
    folder.mkdir(exist_ok=True)
    with Journal(folder / "journal.jsonl", fsync=False) as journal:
        sweep = Sweep(plan, journal)
        InProcess().run(sweep, scripted())
    return sweep.state


def best_values(state: SweepState) -> list[str]:
    trials = sorted(state.trials.values(), key=lambda trial: -(trial.best or 0.0))
    return [json.dumps(trial.values, sort_keys=True) for trial in trials]


def test_the_best_that_fit_come_first_those_on_the_dataset_before_others(tmp_path: Path) -> None:
    day = run(tmp_path / "day", plan_of(SPACE))
    night = run(tmp_path / "night", plan_of(SPACE.replace("name: day", "name: night, variant: night")))
    found = list(known_values(plan_of(SPACE), {"night-1": night, "day-1": day}))
    assert [json.dumps(k.values, sort_keys=True) for k in found] == best_values(day)[:3]  # night's are the same here
    assert all(k.source.startswith("day-1/") for k in found)
    only_night = list(known_values(plan_of(SPACE), {"night-1": night}))
    assert [json.dumps(k.values, sort_keys=True) for k in only_night] == best_values(night)[:1]


def test_values_outside_the_new_domains_are_left_out(tmp_path: Path) -> None:
    day = run(tmp_path / "day", plan_of(SPACE))
    narrow = SPACE.replace("[1.0e-5, 1.0e-1]", "[1.0e-5, 1.0e-4]")
    for known in known_values(plan_of(narrow), {"day-1": day}):
        assert 1e-5 <= float(str(known.values["optimizer.lr"])) <= 1e-4
    with_more = SPACE.replace("batch_size: 4", "batch_size: {choice: [2, 4]}")
    assert list(known_values(plan_of(with_more), {"day-1": day})) == []


def test_a_launched_sweep_tries_them_first_and_resumes_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    storage = tmp_path / "sweeps"
    storage.mkdir()
    old = run(storage / "old-1", plan_of(SPACE))
    text = SPACE.replace("name: old", "name: new\nwarm_start: [old-1]").replace("epochs: 2", "epochs: 3")
    machinery = Machinery(in_process=True, quiet=True)
    folder = create(check(parse(text, "space.yaml")), storage, None, machinery, lambda _: None)
    new = run(folder, SweepPlan.of(recorded(folder).spec))
    first = [json.dumps(trial.values, sort_keys=True) for trial in new.trials.values()]
    assert first[:3] == best_values(old)[:3]
    assert len(set(first)) == 6
    assert {trial.status for trial in new.trials.values()} == {"finished"}


def test_a_sweep_that_is_not_there_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "old-1", plan_of(SPACE))
    text = SPACE + "warm_start: [old-2]\n"
    with pytest.raises(InputError) as error:
        create(check(parse(text, "space.yaml")), tmp_path, None, Machinery(in_process=True), lambda _: None)
    assert f"space.yaml:11: warm_start[0]: no sweep 'old-2' in {tmp_path}. Did you mean 'old-1'?" in str(error.value)
