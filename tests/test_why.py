"""`segsweep why` tells from the journal what became of a trial."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from scripted import plan_of

from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    AttemptStarted,
    Cause,
    EndStatus,
    EpochDone,
    Journal,
    Stop,
    TrialCreated,
    TrialFacts,
)
from segsweep.orchestrator.watching.why import as_lines, facts
from segsweep.trainables.config import Objective

SPACE = """
datasets: [{type: streets, name: day}]
models: [{architecture: unet, encoder: resnet18}]
trials: 9
epochs: 4
image_size: [48, 80]
"""
COMBINATION = plan_of(SPACE).combinations[0]
MIOU = Objective()
WHO = "unet/resnet18 on day with cross_entropy and adamw (optimizer.lr 0.001234, optimizer.weight_decay 0)"


class Recorder:
    """Writes what a sweep would have written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.journal = Journal(folder / "journal.jsonl", fsync=False)
        self._attempts: dict[str, int] = {}

    def create(self, trial: str, objective: Objective = MIOU) -> None:
        values = {"optimizer.lr": 0.00123412, "optimizer.weight_decay": 0}
        config = COMBINATION.config(trial, values).model_copy(update={"objective": objective})
        self.journal.append(TrialCreated(trial=trial, config=config, values=dict(values)))

    def attempt(self, trial: str, values: list[float], first: int = 1, cause: Cause = "new") -> None:
        self._attempts[trial] = attempt = self._attempts.get(trial, 0) + 1
        self.journal.append(AttemptStarted(trial=trial, attempt=attempt, cause=cause))
        for epoch, value in enumerate(values, start=first):
            metrics: dict[str, float | None] = {"val_miou": value, "val_loss": value, "iterations": 20.0 * epoch}
            self.journal.append(EpochDone(trial=trial, attempt=attempt, epoch=epoch, metrics=metrics))

    def end(self, trial: str, status: EndStatus, reason: str, stop: Stop | None = None) -> None:
        attempt = self._attempts[trial]
        self.journal.append(AttemptEnded(trial=trial, attempt=attempt, status=status, reason=reason, stop=stop))

    def told(self, trial: str) -> list[str]:
        return list(as_lines(facts(self.folder, trial)))


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path / "first")
    yield recorder
    recorder.journal.close()


def three_others(recorder: Recorder, objective: Objective = MIOU) -> None:
    for number, value in enumerate((0.5, 0.75, 0.25), start=1):
        recorder.create(f"{number:03d}", objective)
        recorder.attempt(f"{number:03d}", [value])


def test_a_stopped_trial_names_rung_cutoff_rank_and_who_was_ahead(recorder: Recorder) -> None:
    three_others(recorder)
    recorder.create("004")
    recorder.attempt("004", [0.41])
    stop = Stop(rung=1, cutoff=0.5, rank=3, of=4, ahead=("002", "001"))
    recorder.end("004", "stopped", "rung 1", stop)
    assert recorder.told("004") == [
        f"Trial 004, {WHO}, was stopped at rung 1: its val_miou 0.41 is below the cutoff 0.5 (rank 3 of 4), "
        "behind 002 (0.75) and 001 (0.5)."
    ]


def test_of_many_trials_ahead_the_best_are_named_with_their_values_at_that_rung(recorder: Recorder) -> None:
    loss = Objective(metric="val_loss", mode="min")
    three_others(recorder, loss)
    recorder.attempt("003", [0.01], first=2)  # what comes after the rung tells nothing about it
    recorder.create("004", loss)
    recorder.attempt("004", [0.9])
    recorder.end("004", "stopped", "rung 1", Stop(rung=1, cutoff=0.25, rank=9, of=9, ahead=("003", "001")))
    (told,) = recorder.told("004")
    assert told.endswith(
        "its val_loss 0.9 is above the cutoff 0.25 (rank 9 of 9), behind 003 (0.25), 001 (0.5) and 6 more."
    )


def test_a_stop_that_does_not_say_who_was_ahead_is_told_without(recorder: Recorder) -> None:
    three_others(recorder)
    recorder.end("003", "stopped", "rung 1", Stop(rung=1, cutoff=0.25, rank=3, of=3))
    (told,) = recorder.told("003")
    assert told.endswith(
        "its val_miou 0.25 is equal to the cutoff 0.25, and the earlier of equals goes on (rank 3 of 3)."
    )


def test_a_rung_in_iterations_is_told_with_the_values_that_trials_had_there(recorder: Recorder) -> None:
    for trial, values in (("001", [0.25, 0.5, 0.75]), ("002", [0.125, 0.375])):
        recorder.create(trial)
        recorder.attempt(trial, values)
    stop = Stop(rung=30, unit="iterations", value=0.375, cutoff=0.5, rank=2, of=2, ahead=("001",))
    recorder.end("002", "stopped", "rung 30 iterations", stop)
    (told,) = recorder.told("002")
    assert told.endswith(
        "was stopped at rung 30 iterations: its val_miou 0.375 is below the cutoff 0.5 (rank 2 of 2), behind 001 (0.5)."
    )


@pytest.mark.parametrize("reason", ["epoch limit", "patience: no better val_miou for 2 epochs"])
def test_a_finished_trial_tells_its_best_epoch_and_what_ended_it(recorder: Recorder, reason: str) -> None:
    recorder.create("001")
    recorder.attempt("001", [0.25, 0.75, 0.5])
    recorder.end("001", "finished", reason)
    assert recorder.told("001") == [
        f"Trial 001, {WHO}, finished after 3 of 4 epochs ({reason}); its best is val_miou 0.75 in epoch 2."
    ]


def test_failures_and_interruptions_are_told_with_their_causes(recorder: Recorder) -> None:
    recorder.create("001")
    recorder.attempt("001", [0.25])
    recorder.end("001", "interrupted", "its driver died")
    recorder.attempt("001", [0.5], first=2, cause="resume")
    recorder.end("001", "interrupted", "its worker died")
    recorder.attempt("001", [], cause="resume")
    recorder.end("001", "failed", "ValueError: no")
    recorder.attempt("001", [], cause="retry")
    recorder.end("001", "failed", "RuntimeError: CUDA out of memory")
    assert recorder.told("001") == [
        f"Trial 001, {WHO}, failed after 2 of 4 epochs: RuntimeError: CUDA out of memory.",
        "It was tried again after it had failed once (ValueError: no).",
        "It was interrupted 2 times (last: its worker died) and resumed; it took 4 attempts.",
    ]


def test_a_trial_that_its_cell_needed_tells_what_had_stopped_it(recorder: Recorder) -> None:
    three_others(recorder)
    recorder.end("001", "stopped", "rung 1", Stop(rung=1, cutoff=0.7, rank=2, of=3, ahead=("002",)))
    recorder.attempt("001", [0.5, 0.5, 0.5], first=2, cause="continue")
    recorder.end("001", "finished", "epoch limit")
    assert recorder.told("001")[1:] == [
        "It went on after rung 1: its val_miou 0.5 is below the cutoff 0.7 (rank 2 of 3), because its cell needed a "
        "finished trial."
    ]


def test_a_damaged_checkpoint_is_told(recorder: Recorder) -> None:
    recorder.create("001")
    recorder.attempt("001", [0.5])
    damage = {"damaged_checkpoint": "last.pt: not a readable checkpoint: File is not a zip file"}
    recorder.journal.append(TrialFacts(trial="001", attempt=1, facts=damage))
    assert recorder.told("001")[1] == (
        "It went on without a damaged checkpoint (last.pt: not a readable checkpoint: File is not a zip file)."
    )


def test_an_infeasible_trial_names_the_bound(recorder: Recorder) -> None:
    for trial in ("001", "002"):
        recorder.create(trial)
    recorder.attempt("001", [])
    recorder.end("001", "infeasible", "params_m 44 is above max 30")
    assert recorder.told("001") == [
        f"Trial 001, {WHO}, is infeasible: params_m 44 is above max 30; it was built, and not trained."
    ]
    recorder.attempt("002", [0.5, 0.5])
    recorder.end("002", "infeasible", "epoch_s 70 is above max 60")
    assert recorder.told("002") == [f"Trial 002, {WHO}, is infeasible after 2 of 4 epochs: epoch_s 70 is above max 60."]


def test_a_trial_that_memory_held_in_parts_or_not_at_all_says_so(recorder: Recorder) -> None:
    for trial in ("001", "002"):
        recorder.create(trial)
    recorder.attempt("001", [0.5])
    for seen, told in (
        ("", ", which changes nothing but the time."),
        ("BatchNorm, dice", "; BatchNorm, dice saw only these."),
    ):
        found: dict[str, float | str] = {"micro_batch": 2.0, "smaller_batches_for": seen}
        recorder.journal.append(TrialFacts(trial="001", attempt=1, facts=found))
        assert recorder.told("001")[1] == (
            f"Memory did not hold its batches of 8, so it was trained on 2 images at once{told}"
        )
    recorder.attempt("002", [])
    recorder.journal.append(TrialFacts(trial="002", attempt=1, facts={"micro_batch": 0.0}))
    recorder.end("002", "infeasible", "memory does not hold 1 image of 96x128 at once")
    assert recorder.told("002") == [
        f"Trial 002, {WHO}, is infeasible after 0 of 4 epochs: memory does not hold 1 image of 96x128 at once."
    ]


def test_trials_that_are_not_over_tell_where_they_are(recorder: Recorder) -> None:
    recorder.create("001")
    assert recorder.told("001") == [f"Trial 001, {WHO}, has not begun."]
    recorder.attempt("001", [0.25])
    assert recorder.told("001") == [f"Trial 001, {WHO}, is running, 1 of 4 epochs done."]
    recorder.end("001", "paused", "rung 1: waits for the other trials of its cell")
    assert recorder.told("001") == [
        f"Trial 001, {WHO}, is paused after 1 of 4 epochs: rung 1: waits for the other trials of its cell."
    ]
    recorder.attempt("001", [0.5], first=2, cause="promote")
    recorder.journal.close()
    resume = f"`segsweep resume {recorder.folder}` goes on with it"
    assert recorder.told("001") == [
        f"Trial 001, {WHO}, was running, 2 of 4 epochs done, when its driver died; {resume}."
    ]


@pytest.mark.parametrize("name", ["002", "2", "#002"])
def test_the_command_tells_the_same_to_people_and_programs(recorder: Recorder, name: str) -> None:
    three_others(recorder)
    recorder.end("002", "stopped", "rung 1", Stop(rung=1, cutoff=0.8, rank=2, of=3, ahead=("001",)))
    command = ["why", name, "--storage", str(recorder.folder.parent)]
    told = CliRunner().invoke(cli, command)
    found = json.loads(CliRunner().invoke(cli, [*command, "first", "--json"]).stdout)
    assert told.stdout.splitlines() == list(as_lines(found))
    assert (found["trial"], found["status"], found["best"]) == ("002", "stopped", 0.75)
    assert found["stop"] == {
        "rung": 1,
        "unit": "epochs",
        "cutoff": 0.8,
        "rank": 2,
        "of": 3,
        "value": 0.75,
        "ahead": [{"trial": "001", "value": 0.5}],
    }


def test_an_unknown_trial_is_refused_with_those_that_there_are(recorder: Recorder) -> None:
    with pytest.raises(InputError, match=r"^first: no trial '1'; none has been created yet$"):
        facts(recorder.folder, "1")
    three_others(recorder)
    with pytest.raises(InputError, match=r"^first: no trial '017'; it has 001 to 003$"):
        facts(recorder.folder, "017")
