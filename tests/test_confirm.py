"""confirm: the best trials of every cell, trained again with fresh seeds and scored once on the test split."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mlflow import MlflowClient
from scripted import ScriptedReport, ScriptedTrial, plan_of, scripted
from street_trials import entry, street_config

from segsweep.orchestrator.backends.simulated import Simulated
from segsweep.orchestrator.board.trained import Where, find
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.confirmation import best_configurations
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.forecasting.summary import summary
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.record.journal import Journal
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.trainables.config import Entry
from segsweep.trainables.data.normalization import IMAGENET
from segsweep.trainables.scoring.confusions import load_confusions
from segsweep.trainables.training.batches import eval_batches
from segsweep.trainables.training.checkpoint import load
from segsweep.trainables.training.experiment import build
from segsweep.trainables.trial import Trial

SPACE = """
name: confirmed
datasets: [{type: streets, name: day}, {type: streets, name: night, variant: night}]
models: [{architecture: unet}, {architecture: fpn}]
trials: 6
min_finished: 2
epochs: 9
seeds: [3]
scheduler: {type: asha, grace: 1}
image_size: [64, 64]
"""


def plan(more: str = "") -> SweepPlan:
    keys = {line.partition(":")[0] for line in more.splitlines()}
    base = "".join(line for line in SPACE.splitlines(keepends=True) if line.partition(":")[0] not in keys)
    return plan_of(base + more)


def run(folder: Path, more: str = "confirm: {top: 2, seeds: 3}", workers: int = 4) -> Sweep:
    with Journal(folder / "journal.jsonl", fsync=False) as journal:
        sweep = Sweep(plan(more), journal)
        sweep.interrupted("its driver died", lost="driver")
        Simulated(workers).run(sweep, scripted())
    return sweep


def repeats(sweep: Sweep) -> list[TrialState]:
    return [trial for trial in sweep.state.trials.values() if trial.confirms]


@pytest.mark.parametrize("workers", [1, 4])
def test_the_best_of_each_cell_get_fresh_seeds_and_all_their_epochs(tmp_path: Path, workers: int) -> None:
    sweep = run(tmp_path, workers=workers)
    for cell in sweep.plan.cells:
        finished = [trial for trial in sweep.state.cell(cell) if trial.status == "finished"]
        best = sorted(finished, key=lambda trial: -(trial.best or 0))[:2]
        seeds = {trial.id: sorted(r.config.seed for r in sweep.state.confirmations(trial.id)) for trial in best}
        assert seeds == {trial.id: [4, 5, 6] for trial in best}
    for repeat in repeats(sweep):
        of = sweep.state.trials[repeat.confirms]
        changed = {"trial_id": repeat.id, "seed": repeat.config.seed, "test": True}
        assert repeat.config == of.config.model_copy(update=changed)
        assert (repeat.status, repeat.epoch) == ("finished", 9)


def test_seeds_of_one_configuration_are_one_winner(tmp_path: Path) -> None:
    """Without domains, a combination's only configuration is searched with both seeds."""
    optimizers = (
        "optimizers: [{type: adamw, lr: 1.0e-3, weight_decay: 0}, {type: adamw, name: b, lr: 1.0e-2, weight_decay: 0}]"
    )
    sweep = run(tmp_path, f"{optimizers}\nseeds: [0, 1]\nscheduler: fifo\nconfirm: {{top: 2, seeds: 2}}")
    of = [sweep.state.trials[repeat.confirms].config for repeat in repeats(sweep)]
    assert Counter(config.optimizer.name for config in of) == {"adamw": 4 * 2, "b": 4 * 2}
    assert {repeat.config.seed for repeat in repeats(sweep)} == {2, 3}


def test_the_search_is_the_same_as_without(tmp_path: Path) -> None:
    """No rung, no searcher, no cell's count knows of confirmations."""
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    with_, without = run(tmp_path / "with", workers=1), run(tmp_path / "without", "", workers=1)

    def told(sweep: Sweep) -> list[tuple[object, ...]]:
        return [(t.id, t.config, t.status, t.reason, t.metrics) for t in sweep.state.searched]

    assert told(with_) == told(without)
    assert [trial.id for trial in without.state.trials.values()] == [trial.id for trial in with_.state.searched]


def test_a_sweep_that_died_among_its_confirmations_ends_with_the_same_ones(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = run(tmp_path / "whole", workers=1)
    lines = (tmp_path / "whole" / "journal.jsonl").read_text().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if '"confirms":"0' in line)
    (tmp_path / "killed" / "journal.jsonl").write_text("".join(lines[: first + 20]))
    resumed = run(tmp_path / "killed", workers=1)
    assert [t.config for t in repeats(resumed)] == [t.config for t in repeats(whole)]
    assert Counter(t.status for t in repeats(resumed)) == {"finished": 24}


def test_confirmations_stay_within_the_budget(tmp_path: Path) -> None:
    sweep = run(tmp_path, "confirm: {top: 2, seeds: 3}\nbudget: {trials: 30}")
    assert len(sweep.state.trials) == 30
    assert len(repeats(sweep)) == 6
    assert sweep.halted is not None
    assert sweep.halted.over_budget


class Crashing(ScriptedTrial):
    def step(self) -> ScriptedReport:
        if self._assignment.config.seed == 4:
            raise RuntimeError("this seed crashes")
        return super().step()


def test_a_seed_that_crashes_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    def crashing(assignment: Assignment) -> ScriptedTrial:
        return Crashing(assignment)

    with Journal(tmp_path / "journal.jsonl", fsync=False) as journal:
        sweep = Sweep(plan("confirm: {top: 1, seeds: 2}\nmax_failures: 0"), journal)
        Simulated(2).run(sweep, crashing)
    assert Counter((t.config.seed, t.status) for t in repeats(sweep)) == {(4, "failed"): 4, (5, "finished"): 4}


LUCK_SD = 0.02


class Lucky(ScriptedTrial):
    """Every configuration is worth 0.5; the rest is luck, of the seed and the configuration."""

    def step(self) -> ScriptedReport:
        report, config = super().step(), self._assignment.config
        luck = random.Random(f"{config.optimizer.options} {config.seed}").gauss(0, LUCK_SD)
        return replace(report, metrics={**report.metrics, "val_miou": 0.5 + luck})


def test_the_winner_of_equals_was_lucky_and_fresh_seeds_say_so(tmp_path: Path) -> None:
    """Of 50 equal configurations the best looks 2.25 standard deviations too good (expected maximum of 50 normals)."""

    def lucky(assignment: Assignment) -> ScriptedTrial:
        return Lucky(assignment)

    with Journal(tmp_path / "journal.jsonl", fsync=False) as journal:
        space = "trials: 50\nscheduler: fifo\nsearcher: random\nconfirm: {top: 1, seeds: 10}"
        sweep = Sweep(plan(space), journal)
        Simulated(4).run(sweep, lucky)
    won = [best_configurations(sweep.state, cell, 1)[0] for cell in sweep.plan.cells]
    searched = fmean(trial.best or 0 for trial in won)
    fresh = fmean(r.best or 0 for trial in won for r in sweep.state.confirmations(trial.id))
    assert searched - 0.5 == pytest.approx(2.25 * LUCK_SD, abs=2 * 0.47 * LUCK_SD / 4**0.5)  # of four cells
    assert fresh == pytest.approx(0.5, abs=2 * LUCK_SD / 40**0.5)


def test_a_plan_counts_its_confirmations() -> None:
    assert plan("confirm: {top: 2, seeds: 3}").confirmations == 4 * 2 * 3
    assert plan("confirm: {top: 9}").confirmations == 4 * 6 * 3
    assert plan("confirm: {top: 1}").epochs_at_most == (4 * 6 + 4 * 3) * 9
    assert plan().confirmations == 0


def test_expected_epochs_hold_those_of_all_confirmations() -> None:
    without, with_ = (summary(plan(more), Capacity(4, 0)) for more in ("", "confirm: {top: 1, seeds: 3}"))
    assert with_["epochs_expected"] == pytest.approx(without["epochs_expected"] + 4 * 3 * 9)
    assert [cell["trials"] for cell in with_["cells"]] == [cell["trials"] for cell in without["cells"]]


def test_one_seed_is_refused_because_it_says_nothing_of_others() -> None:
    with pytest.raises(InputError, match=r"confirm.seeds: must be at least 2, not 1"):
        plan("confirm: {seeds: 1}")


# -- the test split ---------------------------------------------------------------------------------------------------


config = partial(
    street_config,
    dataset=entry("streets", size=[48, 64], train=6, val=2, test=5),
    optimizer=entry("adamw", lr=3e-3, weight_decay=0.01),
    lr_schedule=entry("constant"),
    epochs=3,
    batch_size=3,
    image_size=(48, 64),
    test=True,
)


@pytest.mark.parametrize("ema", [None, 0.5])
def test_the_test_split_is_scored_once_with_the_weights_of_the_best_epoch(tmp_path: Path, ema: float | None) -> None:
    """Against a plain count: argmax of the resized logits of best.pt, image by image."""
    asked = config(ema=ema)
    with Trial(asked, tmp_path) as trial:
        reports = list(trial.run())
        assert trial.facts["test_images"] == 5
    tested = [{k for k in report.metrics if k.startswith("test_")} for report in reports]
    assert [bool(names) for names in tested] == [False, False, True]
    assert {name.replace("val_", "test_") for name in reports[0].metrics if name.startswith("val_")} == tested[2]

    best = load(tmp_path / "best.pt")
    with torch.inference_mode():
        experiment = build(asked, torch.device("cpu"))
        model = experiment.learner.model.eval()
        model.load_state_dict(best["model"])
        assert experiment.test is not None
        split = experiment.test.split
        assert trial.facts["test_fingerprint"] == split.fingerprint[:16]
        confusion = np.zeros((8, 8), np.int64)
        for batch in eval_batches(split, 1, torch.device("cpu"), IMAGENET):
            label = split.original_label(batch.indices[0])
            found = torch.nn.functional.interpolate(model(batch.images), label.shape, mode="bilinear").argmax(1)[0]
            np.add.at(confusion, (label[label < 8], found.numpy()[label < 8]), 1)
    stored = load_confusions(tmp_path / "test_confusions.npz")
    np.testing.assert_array_equal(stored.total(), confusion)
    assert (stored.ids, stored.epoch) == (split.ids, best["epoch"])
    hits = confusion.diagonal()
    unions = confusion.sum(0) + confusion.sum(1) - hits
    assert reports[2].metrics["test_miou"] == pytest.approx((hits[unions > 0] / unions[unions > 0]).mean())


def test_scoring_the_test_split_leaves_what_was_trained(tmp_path: Path) -> None:
    """The last checkpoint has the weights of the last epoch, whichever epoch was best."""
    for name, test in (("with", True), ("without", False)):
        with Trial(config(test=test), tmp_path / name) as trial:
            list(trial.run())
    with_, without = (load(tmp_path / name / "last.pt") for name in ("with", "without"))
    assert all(torch.equal(with_["model"][key], value) for key, value in without["model"].items())


def test_a_finished_trial_reports_its_test_scores_again(tmp_path: Path) -> None:
    with Trial(config(epochs=1), tmp_path) as trial:
        (first,) = trial.run()
    with Trial(config(epochs=1), tmp_path, attempt=2) as trial:
        (again,) = trial.run()
    assert again.metrics["test_miou"] == first.metrics["test_miou"]


def test_a_dataset_without_test_split_is_scored_on_val_alone(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for kind in ("images", "masks", "splits"):
        (root / kind).mkdir(parents=True)
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 2, (48, 64, 3), np.uint8)
        cv2.imwrite(str(root / "images" / f"{number}.png"), pixels)
        cv2.imwrite(str(root / "masks" / f"{number}.png"), pixels[..., 0])
    (root / "classes.json").write_text('{"names": ["a", "b"]}')
    (root / "splits" / "train.txt").write_text("0\n1\n2\n")
    (root / "splits" / "val.txt").write_text("3\n")
    dataset = Entry(type="folder", name="mine", options={"root": str(root)})
    with Trial(config(dataset=dataset, epochs=1), tmp_path / "trial") as trial:
        (report,) = trial.run()
        assert not {"test_images", "test_fingerprint"} & set(trial.facts)
    assert not [name for name in report.metrics if name.startswith("test_")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # MLflow's and its SQLite's
def test_confirm_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that ended is confirmed; MLflow has a run of its own kind for each seed, with test scores."""
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    (tmp_path / "s.yaml").write_text(
        "name: small\ndatasets: [{type: streets, size: [48, 64], train: 4, val: 2, test: 2}]\n"
        "models: [{architecture: linknet, encoder: tu-mobilenetv3_small_050}]\n"
        "trials: 2\nepochs: 1\nbatch_size: 4\nimage_size: [48, 64]\n"
    )
    done = CliRunner().invoke(cli, ["launch", "s.yaml", "--in-process"])
    assert done.exit_code == 0, done.output
    for _ in range(2):  # the second time nothing is left to do
        done = CliRunner().invoke(cli, ["confirm", "--top", "1", "--seeds", "2", "--in-process"])
        assert done.exit_code == 0, done.output
    (journal,) = tmp_path.glob("sweeps/small*/journal.jsonl")
    assert done.output.endswith(f", segsweep report {journal.parent.name}\n")
    state = SweepState.load(journal)
    assert Counter(trial.confirms for trial in state.trials.values()) == {"": 2, _best(state): 2}
    client = MlflowClient(uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(ids, "tags.`segsweep.kind` = 'confirm'")
    assert {run.data.tags["segsweep.confirms"] for run in runs} == {_best(state)}
    assert {run.data.params["seed"] for run in runs} == {"1", "2"}
    assert all(0 <= run.data.metrics["test_miou"] <= 1 for run in runs)
    assert find(journal.parent.name, Where(tmp_path / "sweeps")).confirms == _best(state)
    stored = [{file.path for file in client.list_artifacts(run.info.run_id)} for run in runs]
    assert stored == [{"confusions.npz", "test_confusions.npz"}] * 2


def _best(state: SweepState) -> str:
    return max(state.searched, key=lambda trial: trial.best or 0).id
