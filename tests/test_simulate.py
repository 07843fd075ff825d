"""`segsweep simulate`: a plan's search and early stopping on recorded curves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from scripted import plan_of, scripted

from segsweep.orchestrator.backends.in_process import InProcess
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.forecasting.curves import Recording, distance
from segsweep.orchestrator.forecasting.simulation import as_lines, simulate
from segsweep.orchestrator.record.journal import Journal
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell, TrialState
from segsweep.orchestrator.space.domains import Choice, Range
from segsweep.trainables.components import DoesNotFitError

SPACE = """
datasets: [streets]
models: [{architecture: unet, encoder: resnet18}, {architecture: fpn, encoder: resnet18}]
optimizers: [{type: adamw, lr: {loguniform: [1e-5, 1e-1], first: 1e-4}, weight_decay: 0.01}]
searcher: random
scheduler: fifo
trials: 6
epochs: 8
image_size: [48, 80]
"""
UNET, FPN = Cell("streets", "unet/resnet18"), Cell("streets", "fpn/resnet18")


def crash_at_high_rates(assignment: Assignment, epoch: int) -> None:
    lr: Any = assignment.config.optimizer.options["lr"]
    if lr > 3e-2 and epoch == 3:
        raise ValueError("diverged")


def record(folder: Path, space: str = SPACE) -> Path:
    """A sweep's folder with the journal of scripted trials."""
    folder.mkdir()
    with Journal(folder / "journal.jsonl", fsync=False) as journal:
        InProcess().run(Sweep(plan_of(space), journal), scripted(crash_at_high_rates))
    return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded") / "full-1")


def trials_of(folder: Path, cell: Cell) -> list[TrialState]:
    return SweepState.load(folder / "journal.jsonl").cell(cell)


def test_the_recorded_sweep_itself_loses_nothing(recorded: Path) -> None:
    found = simulate(Recording(plan_of(SPACE), [recorded]), workers=1)
    trials = [*trials_of(recorded, UNET), *trials_of(recorded, FPN)]
    assert found["epochs"] == sum(trial.epoch for trial in trials)
    assert found["virtual_s"] == 10.0 * found["epochs"]
    for cell, facts in zip((UNET, FPN), found["cells"], strict=True):
        values = [trial.best for trial in trials_of(recorded, cell) if trial.status == "finished"]
        assert facts["finished"] == len(values)
        assert facts["best"] == facts["best_recorded"] == max(value for value in values if value is not None)
        assert facts["lost"] == 0


def test_crashes_are_replayed_where_they_were_recorded(tmp_path: Path) -> None:
    space = SPACE.replace("first: 1e-4", "first: 9e-2")
    folder = record(tmp_path / "full", space)
    found = simulate(Recording(plan_of(space), [folder]), workers=2)
    for cell, facts in zip((UNET, FPN), found["cells"], strict=True):
        failed = [trial for trial in trials_of(folder, cell) if trial.status == "failed"]
        assert {trial.epoch for trial in failed} == {2}
        assert facts["failed"] == len(failed)


def test_early_stopping_uses_fewer_epochs_and_more_workers_take_less_time(recorded: Path) -> None:
    plan = plan_of(SPACE.replace("fifo", "{type: asha_promotion, grace: 1, reduction_factor: 3}"))
    recording = Recording(plan, [recorded])
    one, four = simulate(recording, workers=1), simulate(recording, workers=4)
    assert one["epochs"] < one["epochs_at_most"] / 2
    assert four["virtual_s"] < one["virtual_s"] / 2
    assert all(cell["stopped"] > 0 and cell["finished"] >= 1 for cell in one["cells"])
    assert all(cell["lost"] >= 0 for cell in one["cells"])


def test_curves_of_several_sweeps_add_up(recorded: Path, tmp_path: Path) -> None:
    other = record(tmp_path / "other", SPACE.replace("searcher: random", "searcher: {type: random, seed: 7}"))
    both = Recording(plan_of(SPACE), [recorded / "journal.jsonl", other])
    assert {len(curves) for curves in both.curves.values()} == {12}


def test_a_proposal_replays_the_nearest_configuration_by_the_logarithm(recorded: Path) -> None:
    plan = plan_of(SPACE)
    recording, combination = Recording(plan, [recorded]), plan.cells[UNET][0]
    lrs = [float(str(curve.trial.values["optimizer.lr"])) for curve in recording.curves[UNET]]
    for lr in (1e-5, 3e-4, 5e-3, 1e-1):
        values: dict[str, Any] = {"optimizer.lr": lr}
        curve = recording.nearest(TrialState(combination.config("x", values), values), combination)
        nearest = min(lrs, key=lambda other: abs(math.log(other / lr)))
        assert curve.trial.values["optimizer.lr"] == nearest


def test_distance_is_one_across_a_domain_and_for_another_category(recorded: Path) -> None:
    combination = plan_of(SPACE).cells[UNET][0]
    domains = {"optimizer.lr": Range("loguniform", 1e-5, 1e-1), "batch_size": Choice((4, 8))}

    def trial(lr: float, batch_size: int) -> TrialState:
        return TrialState(combination.config("x", {"optimizer.lr": lr}), {"optimizer.lr": lr, "batch_size": batch_size})

    assert distance(trial(1e-5, 4), trial(1e-1, 4), domains) == pytest.approx(1)
    assert distance(trial(1e-5, 4), trial(1e-3, 4), domains) == pytest.approx(0.5)
    assert distance(trial(1e-3, 4), trial(1e-3, 8), domains) == 1
    assert distance(trial(1e-5, 4), trial(1e-1, 8), domains) == pytest.approx(math.sqrt(2))


def test_a_parameter_that_was_fixed_when_recorded_counts_with_its_value(tmp_path: Path) -> None:
    fixed = SPACE.replace("{loguniform: [1e-5, 1e-1], first: 1e-4}", "1e-3").replace("trials: 6", "trials: 1")
    folder = record(tmp_path / "fixed", fixed)
    (trial,) = trials_of(folder, UNET)
    plan = plan_of(SPACE)
    combination = plan.cells[UNET][0]
    proposed = TrialState(combination.config("x", {"optimizer.lr": 1e-1}), {"optimizer.lr": 1e-1})
    assert distance(proposed, trial, combination.domains) == pytest.approx(0.5)


def mistakes(space: str, *sources: Path) -> list[str]:
    with pytest.raises(InputError) as error:
        Recording(plan_of(space), sources)
    return [str(mistake) for mistake in error.value.mistakes]


def test_a_cell_that_was_not_recorded_is_named_with_its_epochs(recorded: Path) -> None:
    assert mistakes(SPACE.replace("architecture: fpn", "architecture: linknet"), recorded) == [
        "linknet/resnet18 on streets: no recorded curve of 8 epochs; record the cell, or leave it out"
    ]


def test_curves_that_end_too_early_are_refused(recorded: Path, tmp_path: Path) -> None:
    longer = mistakes(SPACE.replace("epochs: 8", "epochs: 12"), recorded)
    assert [message.split(":")[0] for message in longer] == ["unet/resnet18 on streets", "fpn/resnet18 on streets"]
    assert all("recorded curves end before epoch 12 (trial 0" in message for message in longer)
    assert all("after epoch 8); simulate fewer epochs" in message for message in longer)
    stopped = record(tmp_path / "stopped", SPACE.replace("fifo", "{type: asha, grace: 2}"))
    assert any("end before epoch 8" in message and "after epoch 2)" in message for message in mistakes(SPACE, stopped))
    Recording(plan_of(SPACE.replace("epochs: 8", "epochs: 2")), [stopped])


def test_curves_of_stopped_trials_may_go_on_at_their_best_value(tmp_path: Path) -> None:
    early = SPACE.replace("fifo", "{type: asha, grace: 2}")
    stopped = record(tmp_path / "stopped", early)
    assert all(
        ", or let stopped ones stay at their best value with --continue-stopped" in m for m in mistakes(SPACE, stopped)
    )
    continued = Recording(plan_of(SPACE), [stopped], continue_stopped=True)
    for curve in (curve for curves in continued.curves.values() for curve in curves if not curve.failed):
        assert [found["iterations"] for found in curve.metrics] == [4.0 * epoch for epoch in range(1, 9)]
    found = simulate(continued, workers=1)
    trials = [*trials_of(stopped, UNET), *trials_of(stopped, FPN)]
    missing = sum(8 - trial.epoch for trial in trials if trial.status == "stopped")
    assert missing > 0
    assert found["epochs_unrecorded"] == missing  # the same searcher proposes the same trials, and now none is stopped
    assert found["epochs"] == sum(trial.epoch for trial in trials) + missing
    assert all(cell["finished"] == 6 - cell["failed"] for cell in found["cells"])
    assert f"  {missing} of these epochs were never recorded" in "\n".join(as_lines(found))
    again = simulate(Recording(plan_of(early), [stopped], continue_stopped=True), workers=1)
    assert (again["epochs_unrecorded"], again["epochs"]) == (0, sum(trial.epoch for trial in trials))
    patient = SPACE.replace("epochs: 8", "epochs: 8\npatience: 1")
    waiting = simulate(Recording(plan_of(patient), [stopped], continue_stopped=True), workers=1)
    assert waiting["epochs_unrecorded"] == sum(trial.status == "stopped" for trial in trials)


def test_an_objective_that_was_not_recorded_is_refused(recorded: Path) -> None:
    found = mistakes(SPACE + "objective: {metric: val_dice}\n", recorded)
    assert len(found) == 2
    assert "unet/resnet18 on streets: trial 001 of" in found[0]
    assert "has no metric 'val_dice' in epoch 1; it has val_loss, val_miou" in found[0]


def test_iterations_that_were_not_recorded_are_refused(recorded: Path, tmp_path: Path) -> None:
    space = SPACE.replace("fifo", "{type: asha, unit: iterations, grace: 8}")
    assert simulate(Recording(plan_of(space), [recorded]), workers=1)["epochs"] < 96
    (old := tmp_path / "old").mkdir()
    journal = (recorded / "journal.jsonl").read_text()
    (old / "journal.jsonl").write_text(journal.replace('"iterations"', '"steps"'))
    found = mistakes(space, old)
    assert len(found) == 2
    assert found[0].startswith("unet/resnet18 on streets: trial 001 of ")
    assert found[0].endswith("has no metric 'iterations' in epoch 1; simulate with scheduler.unit epochs or seconds")
    Recording(plan_of(SPACE.replace("fifo", "{type: asha, unit: seconds, grace: 20}")), [old])


def test_a_cost_that_was_not_recorded_is_refused(recorded: Path) -> None:
    found = mistakes(SPACE + "constraints: {latency_ms: {max: 3}}\n", recorded)
    assert "unet/resnet18 on streets: trial 001 of" in found[0]
    assert "reports no latency_ms" in found[0]


def test_a_constraint_ends_replayed_trials(recorded: Path, tmp_path: Path) -> None:
    space = SPACE + "constraints: {epoch_s: {max: 9}}\n"
    found = simulate(Recording(plan_of(space), [recorded]), workers=1)
    assert [(cell["infeasible"], cell["finished"], cell["best_recorded"]) for cell in found["cells"]] == [
        (6, 0, None)
    ] * 2
    assert found["epochs"] == 12
    strict = record(tmp_path / "strict", space)  # curves that end in their first epoch, by the same constraint
    assert simulate(Recording(plan_of(space), [strict]), workers=1)["epochs"] == 12
    assert any("end before epoch 8" in message for message in mistakes(SPACE, strict))


def test_what_memory_did_not_hold_is_infeasible_in_a_simulation_too(tmp_path: Path) -> None:
    def mishap(assignment: Assignment, epoch: int) -> None:
        if assignment.config.model.type == "fpn" and epoch == 1:
            raise DoesNotFitError("memory does not hold 1 image")

    with Journal(tmp_path / "journal.jsonl", fsync=False) as journal:
        InProcess().run(Sweep(plan_of(SPACE), journal), scripted(mishap))
    found = simulate(Recording(plan_of(SPACE), [tmp_path]), workers=1)
    assert {cell["model"]: (cell["infeasible"], cell["failed"]) for cell in found["cells"]} == {
        UNET.model: (0, 0),
        FPN.model: (6, 0),
    }


def test_a_folder_without_a_journal_is_refused(tmp_path: Path) -> None:
    assert "there is no journal" in mistakes(SPACE, tmp_path)[0]


def test_patience_ends_replayed_trials(recorded: Path) -> None:
    space = SPACE.replace("epochs: 8", "epochs: 8\npatience: 3")
    recording = Recording(plan_of(space), [recorded])
    assert {curve.ends for curves in recording.curves.values() for curve in curves} == {8}  # they always get better
    worse = plan_of(space + "objective: {metric: val_loss, mode: min}\n")
    found = simulate(Recording(worse, [recorded]), workers=1)
    trials = [*trials_of(recorded, UNET), *trials_of(recorded, FPN)]
    assert found["epochs"] == sum(min(trial.epoch, 4) for trial in trials)  # the first is best, three wait in vain


def test_the_command_prints_a_table_or_json(recorded: Path, tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE)
    arguments = ["simulate", str(file), "--curves", str(recorded), "--workers", "4"]
    shown = CliRunner().invoke(cli, [*arguments, "--set", "scheduler=asha"], catch_exceptions=False)
    first, header, *rows, last = shown.output.splitlines()
    assert first.startswith("space: 12 trials, random and asha. ")
    assert " of 96 epochs (" in first
    assert first.endswith("with 4 workers")
    assert header.split() == ["finished", "stopped", "failed", "infeasible", "val_miou", "recorded", "lost"]
    assert [row.split()[:2] for row in rows] == [list(UNET), list(FPN)]
    assert last == f"Next: segsweep launch {file}"
    found = json.loads(CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False).output)
    assert found["workers"] == 4
    assert found["scheduler"] == "fifo"
    assert [cell["trials"] for cell in found["cells"]] == [6, 6]
