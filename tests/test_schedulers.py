"""Schedulers against numbers worked out by hand, and what all of them have to hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from scripted import plan_of, scripted

from segsweep.orchestrator.backends.simulated import Simulated
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.driving.verdicts import explain_stop
from segsweep.orchestrator.record.journal import AttemptEnded, EpochDone, Journal, Stop, TrialCreated, Unit, read_events
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.schedulers import SCHEDULERS, Decision, Grouping, GroupView, Pause, Scheduler
from segsweep.orchestrator.schedulers.hyperband import Options as HyperbandOptions
from segsweep.orchestrator.schedulers.hyperband import graces, next_bracket, sizes
from segsweep.trainables.config import Objective

Mode = Literal["max", "min"]

SPACE = """
datasets: [{type: streets, name: day}, {type: streets, name: night, variant: night}]
models: [{architecture: unet, encoder: resnet18}, {architecture: fpn, encoder: resnet18}]
trials: 7
epochs: 9
batch_size: {choice: [4, 8, 16]}
image_size: [48, 80]
min_finished: 2
"""


PLAN = plan_of(SPACE)


def built(name: str, epochs: int = 9, **options: Any) -> Scheduler:
    component: Any = SCHEDULERS.get(name)
    return component.build(component.Options(**options), epochs)  # type: ignore[no-any-return]


def trial_of(number: int, mode: Mode = "max", *, dataset: int = 0, model: int = 0) -> TrialState:
    """A running trial that has not reported anything."""
    combination = PLAN.combinations[2 * dataset + model]
    values = {"optimizer.lr": 0.1, "optimizer.weight_decay": 0.0, "batch_size": 8}
    metric = "val_miou" if mode == "max" else "val_loss"
    objective = Objective(metric=metric, mode=mode)
    config = combination.config(f"{number:03d}", values).model_copy(update={"objective": objective})
    return TrialState(config, {}, number - 1, index_in_cell=number - 1, status="running")


def report(scheduler: Scheduler, trial: TrialState, *values: float | None, **used: float) -> Stop | Pause | None:
    """Let the trial report the values of its next epochs; what the scheduler says to the last of them.

    used: `epoch_s` of each of them, or the `iterations` that each of them adds.
    """
    said: Stop | Pause | None = None
    for value in values:
        epoch = trial.epoch + 1
        metrics: dict[str, float | None] = {trial.config.objective.metric: value, **used}
        if "iterations" in used:
            metrics["iterations"] = trial.used(trial.epoch, "iterations") + used["iterations"]
        trial.apply_epoch(EpochDone(trial=trial.id, attempt=1, epoch=epoch, metrics=metrics))
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
    assert report(asha, trial_of(2), 0.25) == Stop(rung=1, value=0.25, cutoff=0.4375, rank=2, of=2, ahead=("001",))
    assert report(asha, trial_of(3), 0.75) is None
    # of 0.25, 0.375, 0.5, 0.75 it begins a quarter of the way from the third to the fourth
    stop = Stop(rung=1, value=0.375, cutoff=0.5625, rank=3, of=4, ahead=("003", "001"))
    assert report(asha, trial_of(4), 0.375) == stop


def test_asha_turns_round_for_a_loss() -> None:
    asha = built("asha", grace=1, reduction_factor=4)
    assert report(asha, trial_of(1, "min"), 0.5) is None
    stop = Stop(rung=1, value=0.75, cutoff=0.5625, rank=2, of=2, ahead=("001",))
    assert report(asha, trial_of(2, "min"), 0.75) == stop
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


@pytest.mark.parametrize("name", ["asha", "median"])
@pytest.mark.parametrize(("rungs", "stops"), [("cell", False), ("dataset", True)])
def test_models_of_one_dataset_are_compared_only_if_told_to(name: str, rungs: str, stops: bool) -> None:
    scheduler = built(name, rungs=rungs, **({"min_trials": 1} if name == "median" else {}))
    assert report(scheduler, trial_of(1), 0.9) is None
    assert isinstance(report(scheduler, trial_of(2, model=1), 0.1), Stop) == stops
    assert report(scheduler, trial_of(3, dataset=1), 0.1) is None


@pytest.mark.parametrize("name", ["asha", "median"])
def test_an_epoch_without_a_number_counts_for_nobody(name: str) -> None:
    scheduler = built(name, **({"min_trials": 1} if name == "median" else {}))
    assert report(scheduler, trial_of(1), None) is None
    assert report(scheduler, trial_of(2), 0.1) is None  # still the first of its rung


# -- asha_promotion ---------------------------------------------------------------------------------------------


def decided(values: Sequence[float], mode: Mode = "max", *, min_finished: int = 1, planned: int | None = None) -> Any:
    promotion = built("asha_promotion", grace=1, reduction_factor=3)
    trials = paused_at_one(promotion, values, mode)
    view = GroupView(trials, planned or len(trials), min_finished)
    return verdicts(list(promotion.decide(view, idle=False)))


def test_promotion_keeps_the_best_third_of_a_full_rung() -> None:
    assert decided([0.1, 0.4, 0.2, 0.6, 0.5, 0.3]) == {
        "001": Stop(rung=1, value=0.1, cutoff=0.5, rank=6, of=6, ahead=("004", "005", "002", "006", "003")),
        "002": Stop(rung=1, value=0.4, cutoff=0.5, rank=3, of=6, ahead=("004", "005")),
        "003": Stop(rung=1, value=0.2, cutoff=0.5, rank=5, of=6, ahead=("004", "005", "002", "006")),
        "004": None,
        "005": None,
        "006": Stop(rung=1, value=0.3, cutoff=0.5, rank=4, of=6, ahead=("004", "005", "002")),
    }


def test_promotion_takes_the_lowest_loss_and_the_earlier_of_equals() -> None:
    assert decided([0.3, 0.2, 0.2], "min") == {
        "001": Stop(rung=1, value=0.3, cutoff=0.2, rank=3, of=3, ahead=("002", "003")),
        "002": None,
        "003": Stop(rung=1, value=0.2, cutoff=0.2, rank=2, of=3, ahead=("002",)),
    }


def test_promotion_keeps_as_many_as_shall_finish() -> None:
    assert [stop is None for stop in decided([0.1, 0.2, 0.3], min_finished=2).values()] == [False, True, True]
    assert [stop is None for stop in decided([0.1, 0.2, 0.3], min_finished=5).values()] == [True, True, True]


def test_a_rung_waits_for_trials_that_may_still_come() -> None:
    assert decided([0.1, 0.2, 0.3], planned=4) == {}


def test_an_idle_worker_promotes_only_what_is_among_the_best_already() -> None:
    promotion = built("asha_promotion", grace=1, reduction_factor=3)
    trials = paused_at_one(promotion, [0.1, 0.3])
    assert list(promotion.decide(GroupView(trials, 9, 1), idle=True)) == []  # a third of two is none
    trials += [trial_of(3)]
    assert report(promotion, trials[2], 0.2) == Pause(1)
    trials[2].status = "paused"
    assert verdicts(list(promotion.decide(GroupView(trials, 9, 1), idle=True))) == {"002": None}


# -- median -----------------------------------------------------------------------------------------------------


def test_median_compares_the_best_with_running_averages() -> None:
    median = built("median", grace=2, min_trials=3)
    for number, values in enumerate([(0.25, 0.5), (0.5, 0.75), (0.25, 1.0)], start=1):
        assert report(median, trial_of(number), *values) is None  # averages 0.375, 0.625, 0.625
    assert report(median, trial_of(4), 0.125, 0.625) is None  # average 0.375; 0.625 is no worse than the median
    # the median of 0.375, 0.625, 0.625, 0.375 is 0.5; the best epochs are 0.5, 0.75, 1.0, 0.625
    assert report(median, trial_of(5), 0.4375, 0.0) == Stop(
        rung=2, value=0.4375, cutoff=0.5, rank=5, of=5, ahead=("003", "002", "004", "001")
    )


def test_median_turns_round_for_a_loss() -> None:
    median = built("median", grace=1, min_trials=2)
    report(median, trial_of(1, "min"), 1.0)
    report(median, trial_of(2, "min"), 2.0)
    assert report(median, trial_of(3, "min"), 1.6) == Stop(rung=1, value=1.6, cutoff=1.5, rank=2, of=3, ahead=("001",))
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
    assert verdicts(list(hyperband.decide(GroupView(trials, 5, 1), idle=False))) == {
        "001": Stop(rung=1, value=0.1, cutoff=0.3, rank=3, of=3, ahead=("003", "005")),
        "003": None,
        "005": Stop(rung=1, value=0.2, cutoff=0.3, rank=2, of=3, ahead=("003",)),
    }


def test_hyperband_knows_the_bracket_of_a_trial_before_its_first_epoch() -> None:
    hyperband = built("hyperband", epochs=3, grace=1, reduction_factor=3)  # brackets 0, 1, 0, 1, 0
    trials = [trial_of(number) for number in range(1, 6)]
    late = [report(hyperband, trials[i], 0.5) for i in (4, 1, 3, 0, 2)]
    assert late == [Pause(1), None, None, Pause(1), Pause(1)]


def test_a_bracket_waits_for_its_own_trials_and_for_those_that_may_still_come() -> None:
    hyperband = built("hyperband", epochs=3)
    first, second, third = trial_of(1), trial_of(2), trial_of(3)
    assert report(hyperband, first, 0.5) == Pause(1)
    first.status = "paused"
    assert list(hyperband.decide(GroupView([first], 2, 1), idle=False)) == []
    assert verdicts(list(hyperband.decide(GroupView([first, second], 2, 1), idle=False))) == {"001": None}
    assert list(hyperband.decide(GroupView([first, second, third], 3, 1), idle=False)) == []


# -- other units than epochs ------------------------------------------------------------------------------------


def test_trials_are_compared_after_the_epoch_in_which_they_reach_the_iterations_of_a_rung() -> None:
    asha = built("asha", unit="iterations", grace=8, reduction_factor=4)
    assert report(asha, trial_of(1), 0.25, 0.75, iterations=4) is None  # at the rung after two epochs, and alone
    smaller = trial_of(2)
    assert report(asha, smaller, 0.125, 0.25, iterations=3) is None  # 6 iterations
    # 9 iterations; the best quarter of 0.25 and 0.75 begins at 0.25 + 3/4 * 0.5
    stop = Stop(rung=8, unit="iterations", value=0.25, cutoff=0.625, rank=2, of=2, ahead=("001",))
    assert report(asha, smaller, 0.1875, iterations=3) == stop
    # that of 0.25, 0.5, 0.75 half-way between the upper two
    stop = Stop(rung=8, unit="iterations", value=0.5, cutoff=0.625, rank=2, of=3, ahead=("001",))
    assert report(asha, trial_of(3), 0.5, iterations=16) == stop


def test_a_long_epoch_leads_past_several_rungs() -> None:
    asha = built("asha", unit="seconds", grace=10, reduction_factor=4)  # rungs at 10, 40, 160 s
    assert report(asha, trial_of(1), 0.25, 0.5, 0.5, 0.75, epoch_s=10) is None
    # good enough at 10 s, where the other had 0.25, but not at 40 s: the best quarter begins at 0.5 + 3/4 * 0.25
    stop = Stop(rung=40, unit="seconds", value=0.5, cutoff=0.6875, rank=2, of=2, ahead=("001",))
    assert report(asha, trial_of(2), 0.5, epoch_s=40) == stop
    # of 0.25, 0.375, 0.5 at 10 s half-way between the upper two
    stop = Stop(rung=10, unit="seconds", value=0.375, cutoff=0.4375, rank=2, of=3, ahead=("002",))
    assert report(asha, trial_of(3), 0.375, epoch_s=10) == stop


def test_promotion_takes_a_trial_past_all_the_rungs_that_it_is_at() -> None:
    promotion = built("asha_promotion", unit="iterations", grace=4)
    slow, fast, short = trial_of(1), trial_of(2), trial_of(3)
    assert report(promotion, slow, 0.5, iterations=4) == Pause(4, "iterations")
    assert report(promotion, fast, 0.75, iterations=8) == Pause(4, "iterations")  # and at 8
    assert report(promotion, short, 0.9, iterations=3) is None
    slow.status = fast.status = "paused"
    short.status = "finished"  # before the first rung: it is nobody's rival there
    view = GroupView([slow, fast, short], 3, 1)
    stop = Stop(rung=4, unit="iterations", value=0.5, cutoff=0.75, rank=2, of=2, ahead=("002",))
    assert verdicts(list(promotion.decide(view, idle=False))) == {"001": stop}  # who could still have come to 8
    slow.status = "stopped"
    assert verdicts(list(promotion.decide(view, idle=False))) == {"002": None}
    assert list(promotion.decide(view._replace(planned=4), idle=False)) == []


def test_median_compares_at_the_last_multiple_of_its_grace() -> None:
    median = built("median", unit="seconds", grace=10, min_trials=1)
    assert report(median, trial_of(1), 0.25, 0.75, epoch_s=25) is None  # averages 0.25 until 20 s, 0.5 until 50 s
    stop = Stop(rung=30, unit="seconds", value=0.125, cutoff=0.5, rank=2, of=2, ahead=("001",))
    assert report(median, trial_of(2), 0.125, epoch_s=30) == stop
    assert report(median, trial_of(3), 0.25, epoch_s=20) is None  # the median of 0.25 and 0.125 is less
    assert report(median, trial_of(4), 0.0, epoch_s=9) is None


@pytest.mark.parametrize("name", ["asha", "asha_promotion", "hyperband", "median"])
def test_who_does_not_say_its_iterations_reaches_no_rung(name: str) -> None:
    scheduler = built(name, unit="iterations", grace=1, **({"brackets": 1} if name == "hyperband" else {}))
    assert [report(scheduler, trial_of(number), 1 / number) for number in range(1, 9)] == [None] * 8


# -- in words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "stop", "words"),
    [
        (
            "max",
            Stop(rung=3, value=0.412, cutoff=0.518, rank=4, of=5),
            "rung 3: val_miou 0.412 is below the cutoff 0.518 (rank 4 of 5)",
        ),
        (
            "min",
            Stop(rung=500, unit="iterations", value=0.75, cutoff=0.5, rank=2, of=2),
            "rung 500 iterations: val_loss 0.75 is above the cutoff 0.5 (rank 2 of 2)",
        ),
        (
            "max",
            Stop(rung=60, unit="seconds", value=0.41198, cutoff=0.41204, rank=2, of=3),
            "rung 60 seconds: val_miou 0.41198 is below the cutoff 0.41204 (rank 2 of 3)",
        ),
        (
            "max",
            Stop(rung=1, value=0.2, cutoff=0.2, rank=3, of=3),
            "rung 1: val_miou 0.2 is equal to the cutoff 0.2, and the earlier of equals goes on (rank 3 of 3)",
        ),
    ],
)
def test_a_stop_is_told_in_a_sentence(mode: Mode, stop: Stop, words: str) -> None:
    assert explain_stop(stop, trial_of(1, mode).config.objective) == words


# -- all of them ------------------------------------------------------------------------------------------------


def settings() -> list[str]:
    """Every scheduler in every unit, its rungs of a cell and of a dataset."""
    grace = {"epochs": "", "iterations": ", grace: 6", "seconds": ", grace: 15"}
    found: list[str] = []
    for name in SCHEDULERS.names():
        component: Any = SCHEDULERS.get(name)
        for unit in get_args(Unit) if "unit" in component.Options.model_fields else ():
            brackets = ", brackets: 3" if name == "hyperband" else ""
            for rungs in get_args(Grouping):
                found.append(f"{{type: {name}, rungs: {rungs}, unit: {unit}{grace[unit]}{brackets}}}")
        if "unit" not in component.Options.model_fields:
            found.append(name)
    return found


def diverge_now_and_then(assignment: Assignment, epoch: int) -> float | None:
    return math.nan if int(assignment.trial) % 8 == 5 and epoch == 2 else None


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("setting", settings())
def test_every_cell_ends_with_its_finished_trials_and_a_replay_agrees(
    setting: str, workers: int, tmp_path: Path
) -> None:
    plan, backend = plan_of(f"{SPACE}scheduler: {setting}\n"), Simulated(workers)
    with Journal(tmp_path / "journal.jsonl", clock=backend.clock, fsync=False) as journal:
        sweep = Sweep(plan, journal)
        backend.run(sweep, scripted(diverge_now_and_then))
        replayed = Sweep(plan, journal)
        assert replayed.over
        assert replayed.next() is None
    for cell in plan.cells:
        trials = sweep.state.cell(cell)
        assert len(trials) == 7
        assert sum(trial.status == "finished" for trial in trials) >= 2
    stopped = [trial for trial in sweep.state.trials.values() if trial.stop is not None]
    assert bool(stopped) == (setting != "fifo")
    assert stopped == [trial for trial in sweep.state.trials.values() if trial.status == "stopped"]
    for trial in stopped:
        check_stop(trial, sweep)


def check_stop(trial: TrialState, sweep: Sweep) -> None:
    """The trial stopped at the epoch in which it reached the rung, behind those that were better there."""
    stop = trial.stop
    assert stop is not None
    assert trial.epoch == trial.reached(stop.rung, stop.unit)
    assert stop.value == trial.best
    assert 1 < stop.rank <= stop.of
    assert len(stop.ahead) == min(5, stop.rank - 1)
    others = [sweep.state.trials[other] for other in stop.ahead]
    assert {other.cell.dataset for other in others} == {trial.cell.dataset}
    assert all(other.reached(stop.rung, stop.unit) for other in others)
    better = [other.best_at(stop.rung, stop.unit) for other in others]
    assert better == sorted(better, reverse=True)
    assert better[-1] >= stop.value


@pytest.mark.parametrize("name", ["asha", "asha_promotion", "hyperband", "median"])
@pytest.mark.parametrize("rungs", get_args(Grouping))
def test_rungs_of_a_dataset_hold_the_trials_of_all_its_models(name: str, rungs: str, tmp_path: Path) -> None:
    plan, backend = plan_of(f"{SPACE}scheduler: {{type: {name}, rungs: {rungs}}}\n"), Simulated(1)
    with Journal(tmp_path / "journal.jsonl", clock=backend.clock, fsync=False) as journal:
        sweep = Sweep(plan, journal)
        backend.run(sweep, scripted())
    stops = [(trial, trial.stop) for trial in sweep.state.trials.values() if trial.stop is not None]
    others = {sweep.state.trials[other].cell != trial.cell for trial, stop in stops for other in stop.ahead}
    assert others == ({False} if rungs == "cell" else {False, True})


def decisions(folder: Path) -> list[tuple[str, ...]]:
    """Proposals and ends of a sweep, without interruptions."""
    found: list[tuple[str, ...]] = []
    for event, _ in read_events(folder / "journal.jsonl"):
        if isinstance(event, TrialCreated):
            found.append((event.trial, str(event.values)))
        elif isinstance(event, AttemptEnded) and event.status != "interrupted":
            found.append((event.trial, event.status, event.reason))
    return found


@pytest.mark.parametrize(
    ("setting", "searcher"),
    [*((setting, "quasi_random") for setting in settings()), *((name, "grid") for name in SCHEDULERS.names())],
)
def test_a_killed_sweep_ends_like_an_undisturbed_one(setting: str, searcher: str, tmp_path: Path) -> None:
    plan = plan_of(f"{SPACE}scheduler: {setting}\nsearcher: {searcher}\n")

    def run(folder: Path) -> None:
        with Journal(folder / "journal.jsonl", fsync=False) as journal:
            sweep = Sweep(plan, journal)
            sweep.interrupted("its driver died", lost="driver")
            Simulated(workers=1).run(sweep, scripted(diverge_now_and_then))

    (undisturbed := tmp_path / "undisturbed").mkdir()
    run(undisturbed)
    lines = (undisturbed / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for part in range(1, 5):
        (killed := tmp_path / str(part)).mkdir()
        (killed / "journal.jsonl").write_bytes(b"".join(lines[: len(lines) * part // 5]))
        run(killed)
        assert decisions(killed) == decisions(undisturbed)
