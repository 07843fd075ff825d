"""Who gets how many trials: rounds worked out by hand, and adaptive sweeps that survive being killed."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scripted import plan_of

from segsweep.orchestrator.backends.in_process import InProcess
from segsweep.orchestrator.backends.simulated import Simulated
from segsweep.orchestrator.board.rows import make_board
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.errors import ExitCode, InputError
from segsweep.orchestrator.forecasting.summary import as_lines, summary
from segsweep.orchestrator.planning.allocation import Allotment, limits
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.record.journal import Journal, RoundClosed, SweepCreated, TrialCreated, read_events
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell
from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.orchestrator.tracking.reader import TrialRow
from segsweep.orchestrator.watching import status
from segsweep.orchestrator.watching.view import last_words


def space(models: int, trials: int, more: str = "") -> str:
    """Models m0, m1 ... on streets."""
    names = ", ".join(f"{{architecture: unet, encoder: resnet18, name: m{i}}}" for i in range(models))
    return f"""
datasets: [streets]
models: [{names}]
trials: {trials}
epochs: 3
image_size: [48, 80]
scheduler: fifo
allocation: adaptive
{more}"""


@dataclass(frozen=True)
class ScriptedEpoch:
    epoch: int
    metrics: Mapping[str, float]
    done: bool
    reason: str


class ScriptedTrial:
    """The higher its model's number, the better; its lr makes a small difference."""

    facts: Mapping[str, float | str] = {}

    def __init__(self, assignment: Assignment) -> None:
        self._config, self._epoch = assignment.config, assignment.reported

    def step(self) -> ScriptedEpoch:
        self._epoch += 1
        lr: Any = self._config.optimizer.options["lr"]
        value = self.base() + math.exp(-abs(math.log10(lr / 1e-3))) / 100 + self._epoch / 1000
        done = self._epoch == self._config.epochs
        metrics = {"val_miou": value, "val_loss": value, "epoch_s": 1.0}
        return ScriptedEpoch(self._epoch, metrics, done, "epoch limit" if done else "")

    def base(self) -> float:
        return int(self._config.model.name[1:]) / 10

    def close(self) -> None:
        """Nothing to release."""


def run(folder: Path, plan: SweepPlan, workers: int = 1, factory: Any = ScriptedTrial) -> Sweep:
    folder.mkdir(exist_ok=True)
    with Journal(folder / "journal.jsonl", fsync=False) as journal:
        sweep = Sweep(plan, journal)
        if sweep.state.created is None:
            spec = plan.spec.model_dump(mode="json")
            uri, source = "sqlite:///mlflow.db", ""
            created = SweepCreated(
                sweep="x-1", spec=spec, source=source, provenance={}, tracking_uri=uri, experiment="x"
            )
            sweep.record(created)
        sweep.interrupted("its driver died", lost="driver")
        backend = InProcess() if workers == 1 else Simulated(workers)
        backend.run(sweep, factory)
    assert sweep.over
    return sweep


def counts(sweep: Sweep) -> dict[str, int]:
    return dict(Counter(trial.cell.model for trial in sweep.state.trials.values()))


def rounds(sweep: Sweep) -> list[dict[str, int]]:
    return [closed.trials for closed in sweep.state.rounds]


@pytest.mark.parametrize(
    ("models", "trials", "wanted", "totals"),
    [
        # 4 cells, 24 trials, 2 rounds of 12: 3 each, then 6 for each of two
        (4, 6, [{"m3": 6, "m2": 6}], [3, 3, 9, 9]),
        # 8 cells, 48 trials, 3 rounds of 16: 2 each, 4 for each of four, 8 for each of two
        (8, 6, [{"m7": 4, "m6": 4, "m5": 4, "m4": 4}, {"m7": 8, "m6": 8}], [2, 2, 2, 2, 6, 6, 14, 14]),
        # 5 cells, 20 trials, 3 rounds: 20 // 15 = 1 each; three of 15 // 6 = 2; two share the 9 that are left
        (5, 4, [{"m4": 2, "m3": 2, "m2": 2}, {"m4": 5, "m3": 4}], [1, 1, 3, 7, 8]),
        # 3 cells, 9 trials, 2 rounds: 9 // 6 = 1 each, then two share 6
        (3, 3, [{"m2": 3, "m1": 3}], [1, 4, 4]),
    ],
)
def test_rounds_by_hand(
    tmp_path: Path, models: int, trials: int, wanted: list[dict[str, int]], totals: list[int]
) -> None:
    plan = plan_of(space(models, trials))
    sweep = run(tmp_path, plan)
    assert rounds(sweep) == wanted
    assert counts(sweep) == {f"m{i}": total for i, total in enumerate(totals)}
    assert sum(totals) == plan.trials
    for closed in sweep.state.rounds:
        values = [value for value in closed.best.values() if value is not None]
        assert values == sorted(values, reverse=True)
        assert list(closed.best)[: len(closed.trials)] == list(closed.trials)


def test_no_cell_of_the_next_round_starts_before_the_last_trial_of_the_round_is_over(tmp_path: Path) -> None:
    run(tmp_path, plan_of(space(4, 6)), workers=5)
    events = [event for event, _ in read_events(tmp_path / "journal.jsonl")]
    (closed,) = (i for i, event in enumerate(events) if isinstance(event, RoundClosed))
    begun = [event.trial for event in events[:closed] if isinstance(event, TrialCreated)]
    ended = [event.trial for event in events[:closed] if event.event == "end"]
    assert sorted(begun) == sorted(ended)
    assert len(begun) == 12


def test_each_dataset_has_rounds_of_its_own(tmp_path: Path) -> None:
    text = space(4, 4).replace("[streets]", "[{type: streets, name: a}, {type: streets, name: b}]")

    class Reversed(ScriptedTrial):
        def base(self) -> float:
            return super().base() * (1 if self._config.dataset.name == "a" else -1)

    sweep = run(tmp_path, plan_of(text), workers=3, factory=Reversed)
    assert {closed.dataset: closed.trials for closed in sweep.state.rounds} == {
        "a": {"m3": 4, "m2": 4},
        "b": {"m0": 4, "m1": 4},
    }


def test_of_equals_the_first_in_the_plan_goes_on_and_a_loss_counts_the_other_way(tmp_path: Path) -> None:
    class Equal(ScriptedTrial):
        def base(self) -> float:
            return 0.0

    fixed = "optimizers: [{type: sgd, lr: 0.1, weight_decay: {choice: [0, 1, 2, 3, 4, 5, 6, 7]}}]\n"
    assert rounds(run(tmp_path / "equal", plan_of(space(4, 4, fixed)), factory=Equal)) == [{"m0": 4, "m1": 4}]
    loss = plan_of(space(4, 4, "objective: {metric: val_loss, mode: min}\n"))
    assert rounds(run(tmp_path / "loss", loss)) == [{"m0": 4, "m1": 4}]


def test_a_cell_without_a_finished_trial_comes_last(tmp_path: Path) -> None:
    class Broken(ScriptedTrial):
        def step(self) -> ScriptedEpoch:
            if self._config.model.name in ("m3", "m1"):
                raise ValueError("cannot")
            return super().step()

    sweep = run(tmp_path, plan_of(space(4, 4)), factory=Broken)
    assert sweep.state.rounds[0].best == {"m2": pytest.approx(0.2, abs=0.02), "m0": pytest.approx(0, abs=0.02), "m1": None, "m3": None}  # fmt: skip  # noqa: E501
    assert rounds(sweep) == [{"m2": 4, "m0": 4}]


def test_every_cell_gets_its_min_finished_first(tmp_path: Path) -> None:
    text = space(4, 5, "min_finished: 4\n").replace("scheduler: fifo", "scheduler: {type: asha, grace: 1}")
    sweep = run(tmp_path, plan_of(text), workers=2)  # 20 trials: 4 each, of which 20 // 8 = 2 would be the equal share
    assert rounds(sweep) == [{"m3": 2, "m2": 2}]
    for cell in sweep.plan.cells:
        assert sweep.state.count(cell, "finished") >= 4


def test_combinations_of_a_cell_take_turns_up_to_the_points_of_their_spaces(tmp_path: Path) -> None:
    losses = "losses: [dice, {type: focal, gamma: {choice: [1.0, 2.0]}}]\n"
    fixed = "optimizers: [{type: sgd, lr: {choice: [0.1, 0.2]}, weight_decay: 0}]\n"
    plan = plan_of(space(4, 3, losses + fixed))  # dice has 2 points, focal 4; even: 2 + 3 trials a cell, 20 in all
    sweep = run(tmp_path, plan)
    assert rounds(sweep) == [{"m3": 4, "m2": 4}]  # 20 // 8 = 2 each; 12 are left, but only 4 points in each space
    by_loss = Counter((t.cell.model, t.config.loss.type) for t in sweep.state.trials.values())
    assert by_loss["m0", "dice"] == by_loss["m0", "focal"] == 1
    assert (by_loss["m3", "dice"], by_loss["m3", "focal"]) == (2, 4)
    points = [(t.cell, t.config.loss.type, json.dumps(t.values, sort_keys=True)) for t in sweep.state.trials.values()]
    assert len(points) == len(set(points)) == 16


def test_rungs_close_at_the_end_of_a_round(tmp_path: Path) -> None:
    text = space(4, 8).replace("scheduler: fifo", "scheduler: {type: asha_promotion, grace: 1}")
    sweep = run(tmp_path, plan_of(text))
    assert rounds(sweep) == [{"m3": 8, "m2": 8}]
    weak = sweep.state.cell(Cell("streets", "m0"))
    assert Counter(trial.status for trial in weak) == {"stopped": 3, "finished": 1}  # 4, 2, 1 at rungs 1, 2 and the end


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (space(1, 6), "allocation: one model leaves nothing to choose between; add models, or write even"),
        (space(2, 6), "allocation: two models, in the one round that they have, leave nothing to choose between"),
        (space(4, 2, "min_finished: 2\n"), "allocation: the first round takes all trials; raise trials"),
    ],
)
def test_a_plan_that_leaves_nothing_to_choose_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        plan_of(text)
    assert message in str(error.value)


# -- what the journal has to hold ---------------------------------------------------------------------------------

HALVING = space(5, 6).replace("scheduler: fifo", "scheduler: {type: asha_promotion, grace: 1}")


def decisions(folder: Path) -> list[tuple[Any, ...]]:
    """Proposals, ends and rounds, without times and attempts."""
    found: list[tuple[Any, ...]] = []
    for event, _ in read_events(folder / "journal.jsonl"):
        if isinstance(event, TrialCreated):
            found.append((event.trial, json.dumps(event.values)))
        elif isinstance(event, RoundClosed):
            found.append((event.dataset, event.round, json.dumps(event.best), json.dumps(event.trials)))
        elif event.event == "end" and event.status != "interrupted":
            found.append((event.trial, event.status, event.reason))
    return found


def test_a_killed_adaptive_sweep_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    plan = plan_of(HALVING)
    run(tmp_path / "whole", plan)
    lines = (tmp_path / "whole/journal.jsonl").read_bytes().splitlines(keepends=True)
    closings = [i for i, line in enumerate(lines) if b'"event":"round"' in line]
    assert len(closings) == 2
    moments = random.Random(0).sample(range(2, len(lines)), 10)
    for moment in [*closings, *(i + 1 for i in closings), *moments]:
        killed = tmp_path / str(moment)
        killed.mkdir(exist_ok=True)
        (killed / "journal.jsonl").write_bytes(b"".join(lines[:moment]) + lines[moment][:20])  # dies while it writes
        run(killed, plan)
        assert decisions(killed) == decisions(tmp_path / "whole")


def test_replaying_a_journal_of_four_workers_reproduces_its_decisions(tmp_path: Path) -> None:
    plan = plan_of(HALVING)
    run(tmp_path / "whole", plan, workers=4)
    lines = (tmp_path / "whole/journal.jsonl").read_bytes().splitlines(keepends=True)
    events = [event for event, _ in read_events(tmp_path / "whole/journal.jsonl")]
    (prefix := tmp_path / "prefix").mkdir()
    decided = [i for i, event in enumerate(events) if isinstance(event, TrialCreated | RoundClosed)]
    for cut in decided:
        (prefix / "journal.jsonl").write_bytes(b"".join(lines[:cut]))
        with Journal(prefix / "journal.jsonl", fsync=False) as journal:
            Sweep(plan, journal).next()
        again = [event for event, _ in read_events(prefix / "journal.jsonl")]
        assert len(again) > cut
        for before, now in zip(events[cut:], again[cut:], strict=False):
            assert before.model_copy(update={"time": 0.0}) == now.model_copy(update={"time": 0.0})


# -- who says so --------------------------------------------------------------------------------------------------


def test_status_and_last_words_say_who_got_how_many(tmp_path: Path) -> None:
    sweep = run(tmp_path / "x-1", plan_of(space(4, 6)))
    found = status.facts(tmp_path / "x-1")
    assert [(cell["trials"], cell["planned"]) for cell in found["cells"]] == [(3, 3), (3, 3), (9, 9), (9, 9)]
    first, *_, told, _, last = status.as_lines(found)
    assert first == "x-1: created. 24 of 24 trials (24 finished), allotted adaptively"
    best = found["rounds"][0]["best"]
    assert told == (
        f"  streets, round 1: 6 more trials for m3 ({best['m3']:.4g}), 6 for m2 ({best['m2']:.4g}); "
        f"none for m1 ({best['m1']:.4g}), m0 ({best['m0']:.4g})"
    )
    assert last.startswith("Next: ")
    words = last_words(sweep.state, ExitCode.DONE, tmp_path / "x-1")
    assert "Trials were allotted adaptively, 3 to 9 a cell." in words


def test_planned_trials_grow_with_the_rounds() -> None:
    plan = plan_of(space(4, 6))
    assert set(Allotment(plan).trials.values()) == {3}
    closed = RoundClosed(dataset="streets", round=1, best={}, trials={"m1": 6, "m0": 6})
    assert Allotment.replay(plan, [closed]).trials[Cell("streets", "m1")] == 9


def test_the_plan_gives_the_range_of_every_cell() -> None:
    plan = plan_of(space(8, 6))
    assert set(limits(plan).values()) == {(2, 14)}
    facts = summary(plan, Capacity(cpus=2, gpus=0))
    assert {(cell["trials_at_least"], cell["trials_at_most"]) for cell in facts["cells"]} == {(2, 14)}
    assert sum(cell["trials"] for cell in facts["cells"]) == pytest.approx(48, abs=1)
    assert facts["epochs_expected"] == 48 * 3
    assert "trials        48 (adaptively 2 to 14 a cell, at least 1 finished)" in "\n".join(as_lines(facts))
    even = plan_of(space(8, 6).replace("adaptive", "even"))
    assert set(limits(even).values()) == {(6, 6)}


def test_the_leaderboard_says_that_it_was_no_even_contest() -> None:
    def row(sweep: str, allocation: str) -> TrialRow:
        return TrialRow(
            sweep=sweep, sweep_uid=sweep, trial_id="001", run_id="r", dataset="streets", model="m0", architecture="",
            encoder="", status="finished", stop_reason="", value=0.5, best_epoch=1, params_m=None, gmacs=None, gpu_s=0,
            cpu_s=0, checkpoint="", data_fingerprint="", allocation=allocation,
        )  # fmt: skip

    assert make_board([row("fair-1", "even")], "val_miou").warnings == ()
    (warning,) = make_board([row("fair-1", "even"), row("halved-1", "adaptive")], "val_miou").warnings
    assert warning.startswith("halved-1 allotted its trials adaptively: models that were better early got more")


def test_the_state_keeps_the_rounds(tmp_path: Path) -> None:
    sweep = run(tmp_path, plan_of(space(4, 6)))
    assert SweepState.load(tmp_path / "journal.jsonl").rounds == sweep.state.rounds
