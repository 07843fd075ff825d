"""Schedulers against numbers worked out by hand, and what all of them have to hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from segsweep.orchestrator.backends.simulated import Simulated
from segsweep.orchestrator.journal import AttemptEnded, Journal, Stop, TrialCreated, read_events
from segsweep.orchestrator.plan import SweepPlan
from segsweep.orchestrator.schedulers import SCHEDULERS, CellView, Decision, Pause, Scheduler
from segsweep.orchestrator.schedulers.hyperband import Options as HyperbandOptions
from segsweep.orchestrator.schedulers.hyperband import graces, next_bracket, sizes
from segsweep.orchestrator.source import parse
from segsweep.orchestrator.state import TrialState
from segsweep.orchestrator.sweep import Assignment, Sweep
from segsweep.orchestrator.validation import check
from segsweep.trainables.config import Objective

Mode = Literal["max", "min"]

SPACE = """
datasets: [{type: streets, name: day}, {type: streets, name: night, variant: night}]
models: [{architecture: unet, encoder: resnet18}]
trials: 9
epochs: 9
image_size: [48, 80]
min_finished: 2
"""


def plan_of(space: str) -> SweepPlan:
    return SweepPlan.of(check(parse(space, "space.yaml")).spec)


PLAN = plan_of(SPACE)


def built(name: str, epochs: int = 9, **options: Any) -> Scheduler:
    component: Any = SCHEDULERS.get(name)
    return component.build(component.Options(**options), epochs)  # type: ignore[no-any-return]


def trial_of(number: int, mode: Mode = "max", *, dataset: int = 0) -> TrialState:
    """A running trial that has not reported anything."""
    config = PLAN.combinations[dataset].config(f"{number:03d}", {"optimizer.lr": 0.1, "optimizer.weight_decay": 0.0})
    metric = "val_miou" if mode == "max" else "val_loss"
    config = config.model_copy(update={"objective": Objective(metric=metric, mode=mode)})
    return TrialState(config, {}, status="running")


def report(scheduler: Scheduler, trial: TrialState, *values: float | None) -> Stop | Pause | None:
    """Let the trial report the values of its next epochs; what the scheduler says to the last of them."""
    said: Stop | Pause | None = None
    for value in values:
        trial.metrics.append({trial.config.objective.metric: value})
        if value is not None and trial.config.objective.better(value, trial.best):
            trial.best_epoch = trial.epoch
        said = scheduler.judge(trial)
    return said


def paused_at_one(scheduler: Scheduler, values: Sequence[float], mode: Mode = "max") -> list[TrialState]:
    trials = [trial_of(number, mode) for number in range(1, len(values) + 1)]
    for trial, value in zip(trials, values, strict=True):
        assert report(scheduler, trial, value) == Pause(1)
        trial.status = "paused"
    return trials


def verdicts(decisions: Sequence[Decision]) -> dict[str, Stop | None]:
    return {decision.trial.id: decision.stop for decision in decisions}


# -- asha -------------------------------------------------------------------------------------------------------


def test_asha_stops_what_is_below_the_best_quarter() -> None:
    asha = built("asha", grace=1, reduction_factor=4)
    assert report(asha, trial_of(1), 0.5) is None  # alone
    # of 0.25 and 0.5 the best quarter begins at 0.25 + 3/4 * 0.25
    assert report(asha, trial_of(2), 0.25) == Stop(rung=1, cutoff=0.4375, rank=2, of=2, ahead=("001",))
    assert report(asha, trial_of(3), 0.75) is None
    # of 0.25, 0.375, 0.5, 0.75 it begins a quarter of the way from the third to the fourth
    assert report(asha, trial_of(4), 0.375) == Stop(rung=1, cutoff=0.5625, rank=3, of=4, ahead=("003", "001"))


def test_asha_turns_round_for_a_loss() -> None:
    asha = built("asha", grace=1, reduction_factor=4)
    assert report(asha, trial_of(1, "min"), 0.5) is None
    assert report(asha, trial_of(2, "min"), 0.75) == Stop(rung=1, cutoff=0.5625, rank=2, of=2, ahead=("001",))
    assert report(asha, trial_of(3, "min"), 0.25) is None


def test_asha_lets_equals_go_on() -> None:
    asha = built("asha", grace=1)
    assert [report(asha, trial_of(number), 0.5) for number in range(1, 6)] == [None] * 5


def test_asha_compares_the_best_epoch_at_rungs_only() -> None:
    asha = built("asha", grace=2, reduction_factor=3)  # rungs at 2 and 6
    assert report(asha, trial_of(1), 0.6, 0.5) is None
    trial = trial_of(2)
    assert report(asha, trial, 0.1) is None
    stop = report(asha, trial, 0.2)
    assert isinstance(stop, Stop)
    assert (stop.rung, stop.cutoff) == (2, pytest.approx(0.2 + 0.8 / 3))


@pytest.mark.parametrize(("rungs", "stops"), [("cell", False), ("dataset", True)])
def test_asha_compares_models_of_one_dataset_only_if_told_to(rungs: str, stops: bool) -> None:
    asha = built("asha", rungs=rungs)
    first, other_model, other_dataset = trial_of(1), trial_of(2), trial_of(3, dataset=1)
    model = other_model.config.model.model_copy(update={"name": "other"})
    other_model.config = other_model.config.model_copy(update={"model": model})
    assert report(asha, first, 0.9) is None
    assert isinstance(report(asha, other_model, 0.1), Stop) == stops
    assert report(asha, other_dataset, 0.1) is None


@pytest.mark.parametrize("name", ["asha", "median"])
def test_an_epoch_without_a_number_counts_for_nobody(name: str) -> None:
    scheduler = built(name, **({"min_trials": 1} if name == "median" else {}))
    assert report(scheduler, trial_of(1), None) is None
    assert report(scheduler, trial_of(2), 0.1) is None  # still the first of its rung


# -- asha_promotion ---------------------------------------------------------------------------------------------


def decided(values: Sequence[float], mode: Mode = "max", *, min_finished: int = 1, planned: int | None = None) -> Any:
    promotion = built("asha_promotion", grace=1, reduction_factor=3)
    trials = paused_at_one(promotion, values, mode)
    view = CellView(trials, planned or len(trials), min_finished)
    return verdicts(list(promotion.decide(view, idle=False)))


def test_promotion_keeps_the_best_third_of_a_full_rung() -> None:
    assert decided([0.1, 0.4, 0.2, 0.6, 0.5, 0.3]) == {
        "001": Stop(rung=1, cutoff=0.5, rank=6, of=6, ahead=("004", "005", "002", "006", "003")),
        "002": Stop(rung=1, cutoff=0.5, rank=3, of=6, ahead=("004", "005")),
        "003": Stop(rung=1, cutoff=0.5, rank=5, of=6, ahead=("004", "005", "002", "006")),
        "004": None,
        "005": None,
        "006": Stop(rung=1, cutoff=0.5, rank=4, of=6, ahead=("004", "005", "002")),
    }


def test_promotion_takes_the_lowest_loss_and_the_earlier_of_equals() -> None:
    assert decided([0.3, 0.2, 0.2], "min") == {
        "001": Stop(rung=1, cutoff=0.2, rank=3, of=3, ahead=("002", "003")),
        "002": None,
        "003": Stop(rung=1, cutoff=0.2, rank=2, of=3, ahead=("002",)),
    }


def test_promotion_keeps_as_many_as_shall_finish() -> None:
    assert [stop is None for stop in decided([0.1, 0.2, 0.3], min_finished=2).values()] == [False, True, True]
    assert [stop is None for stop in decided([0.1, 0.2, 0.3], min_finished=5).values()] == [True, True, True]


def test_a_rung_waits_for_trials_that_may_still_come() -> None:
    assert decided([0.1, 0.2, 0.3], planned=4) == {}


def test_an_idle_worker_promotes_only_what_is_among_the_best_already() -> None:
    promotion = built("asha_promotion", grace=1, reduction_factor=3)
    trials = paused_at_one(promotion, [0.1, 0.3])
    assert list(promotion.decide(CellView(trials, 9, 1), idle=True)) == []  # a third of two is none
    trials += [trial_of(3)]
    assert report(promotion, trials[2], 0.2) == Pause(1)
    trials[2].status = "paused"
    assert verdicts(list(promotion.decide(CellView(trials, 9, 1), idle=True))) == {"002": None}


# -- median -----------------------------------------------------------------------------------------------------


def test_median_compares_the_best_with_running_averages() -> None:
    median = built("median", grace=2, min_trials=3)
    for number, values in enumerate([(0.25, 0.5), (0.5, 0.75), (0.25, 1.0)], start=1):
        assert report(median, trial_of(number), *values) is None  # averages 0.375, 0.625, 0.625
    assert report(median, trial_of(4), 0.125, 0.625) is None  # average 0.375; 0.625 is no worse than the median
    # the median of 0.375, 0.625, 0.625, 0.375 is 0.5; the best epochs are 0.5, 0.75, 1.0, 0.625
    assert report(median, trial_of(5), 0.4375, 0.0) == Stop(
        rung=2, cutoff=0.5, rank=5, of=5, ahead=("003", "002", "004", "001")
    )


def test_median_turns_round_for_a_loss() -> None:
    median = built("median", grace=1, min_trials=2)
    report(median, trial_of(1, "min"), 1.0)
    report(median, trial_of(2, "min"), 2.0)
    assert report(median, trial_of(3, "min"), 1.6) == Stop(rung=1, cutoff=1.5, rank=2, of=3, ahead=("001",))
    assert report(median, trial_of(4, "min"), 1.6) is None  # the median is 1.6 now, and equals go on


def test_median_waits_for_its_grace_and_for_enough_others_of_the_cell() -> None:
    median = built("median", grace=2, min_trials=2)
    assert report(median, trial_of(1), 0.9, 0.9) is None
    assert report(median, trial_of(2, dataset=1), 0.9, 0.9) is None
    trial = trial_of(3)
    assert report(median, trial, 0.1) is None
    assert report(median, trial, 0.1) is None  # one other of its cell
    assert isinstance(report(median, trial_of(4), 0.1, 0.05), Stop)


# -- hyperband --------------------------------------------------------------------------------------------------


def test_hyperband_has_the_brackets_of_the_paper() -> None:
    options = HyperbandOptions(grace=1, reduction_factor=3)
    assert graces(options, 81) == [1, 3, 9, 27, 81]
    assert sizes(options, 81) == [81, 34, 15, 8, 5]  # Li et al. 2018, table 1
    assert graces(HyperbandOptions(grace=1, reduction_factor=3, brackets=2), 81) == [1, 3]


def test_hyperband_fills_its_brackets_by_their_shares() -> None:
    def filled(trials: int, wanted: list[int]) -> list[int]:
        taken = [0] * len(wanted)
        for _ in range(trials):
            taken[next_bracket(taken, wanted)] += 1
        return taken

    assert filled(143, [81, 34, 15, 8, 5]) == [81, 34, 15, 8, 5]
    assert filled(3, [9, 5, 3]) == [2, 1, 0]


def test_hyperband_halves_every_bracket_by_itself() -> None:
    hyperband = built("hyperband", epochs=3, grace=1, reduction_factor=3)  # n = 3 and 2: brackets 0, 1, 0, 1, 0
    values = [0.1, 0.9, 0.3, 0.8, 0.2]
    trials = [trial_of(number) for number in range(1, 6)]
    said = [report(hyperband, trial, value) for trial, value in zip(trials, values, strict=True)]
    assert said == [Pause(1), None, Pause(1), None, Pause(1)]
    for trial, answer in zip(trials, said, strict=True):
        trial.status = "paused" if answer else "running"
    assert verdicts(list(hyperband.decide(CellView(trials, 5, 1), idle=False))) == {
        "001": Stop(rung=1, cutoff=0.3, rank=3, of=3, ahead=("003", "005")),
        "003": None,
        "005": Stop(rung=1, cutoff=0.3, rank=2, of=3, ahead=("003",)),
    }


def test_hyperband_waits_for_trials_that_have_no_bracket_yet() -> None:
    hyperband = built("hyperband", epochs=3)
    first, second = trial_of(1), trial_of(2)
    assert report(hyperband, first, 0.5) == Pause(1)
    first.status = "paused"
    assert list(hyperband.decide(CellView([first], 2, 1), idle=False)) == []
    assert list(hyperband.decide(CellView([first, second], 2, 1), idle=False)) == []
    second.status = "failed"
    assert verdicts(list(hyperband.decide(CellView([first, second], 2, 1), idle=False))) == {"001": None}


# -- all of them ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScriptedReport:
    epoch: int
    metrics: Mapping[str, float]
    done: bool
    reason: str


class ScriptedTrial:
    """Learns as fast as its lr is near 1e-3; one trial in eight diverges."""

    facts: Mapping[str, float | str] = {}

    def __init__(self, assignment: Assignment) -> None:
        self._config = assignment.config
        self._epoch = assignment.reported

    def step(self) -> ScriptedReport:
        self._epoch += 1
        lr: Any = self._config.optimizer.options["lr"]
        quality = math.exp(-abs(math.log10(lr / 1e-3)))
        diverges = int(self._config.trial_id) % 8 == 5 and self._epoch == 2
        value = math.nan if diverges else quality * (1 - 0.8**self._epoch)
        done = self._epoch == self._config.epochs
        return ScriptedReport(self._epoch, {"val_miou": value, "epoch_s": lr}, done, "epoch limit" if done else "")

    def close(self) -> None:
        """Nothing to release."""


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", SCHEDULERS.names())
def test_every_cell_ends_with_its_finished_trials_and_a_replay_agrees(name: str, workers: int, tmp_path: Path) -> None:
    plan, backend = plan_of(f"{SPACE}scheduler: {name}\n"), Simulated(workers)
    with Journal(tmp_path / "journal.jsonl", clock=backend.clock, fsync=False) as journal:
        sweep = Sweep(plan, journal)
        backend.run(sweep, ScriptedTrial)
        replayed = Sweep(plan, journal)
        assert replayed.over
        assert replayed.next() is None
    for cell in plan.cells:
        trials = sweep.state.cell(cell)
        assert len(trials) == 9
        assert sum(trial.status == "finished" for trial in trials) >= 2
        for trial in trials:
            assert trial.status in ("finished", "stopped", "failed")
            assert (trial.stop is not None) == (trial.status == "stopped")
            if trial.stop is not None:
                assert trial.epoch == trial.stop.rung
                assert 1 < trial.stop.rank <= trial.stop.of
                assert len(trial.stop.ahead) == min(5, trial.stop.rank - 1)
                better = [sweep.state.trials[other].best_until(trial.stop.rung) for other in trial.stop.ahead]
                assert better == sorted(better, reverse=True)
                assert better[-1] >= trial.best_until(trial.stop.rung)


def decisions(folder: Path) -> list[tuple[str, ...]]:
    """Proposals and ends of a sweep, without interruptions."""
    found: list[tuple[str, ...]] = []
    for event, _ in read_events(folder / "journal.jsonl"):
        if isinstance(event, TrialCreated):
            found.append((event.trial, str(event.values)))
        elif isinstance(event, AttemptEnded) and event.status != "interrupted":
            found.append((event.trial, event.status, event.reason))
    return found


@pytest.mark.parametrize("searcher", ["quasi_random", "grid"])
@pytest.mark.parametrize("name", SCHEDULERS.names())
def test_a_killed_sweep_ends_like_an_undisturbed_one(name: str, searcher: str, tmp_path: Path) -> None:
    plan = plan_of(f"{SPACE}scheduler: {name}\nsearcher: {searcher}\n")

    def run(folder: Path) -> None:
        with Journal(folder / "journal.jsonl", fsync=False) as journal:
            sweep = Sweep(plan, journal)
            sweep.interrupted("its driver died", lost="driver")
            Simulated(workers=1).run(sweep, ScriptedTrial)

    (undisturbed := tmp_path / "undisturbed").mkdir()
    run(undisturbed)
    lines = (undisturbed / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for part in range(1, 5):
        (killed := tmp_path / str(part)).mkdir()
        (killed / "journal.jsonl").write_bytes(b"".join(lines[: len(lines) * part // 5]))
        run(killed)
        assert decisions(killed) == decisions(undisturbed)
