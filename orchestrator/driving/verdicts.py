"""What facts and epochs mean for their trial: it goes on, or how it ends and why."""

from __future__ import annotations

import math
from typing import NamedTuple

from segsweep.orchestrator.record.journal import EndStatus, EpochDone, Stop, TrialFacts, Unit
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.schedulers import Pause, Scheduler
from segsweep.orchestrator.space.aims import Aim
from segsweep.trainables.config import Objective


class Verdict(NamedTuple):
    """How a trial shall end."""

    status: EndStatus
    reason: str
    stop: Stop | None = None


def verdict_on(trial: TrialState, event: TrialFacts | EpochDone, scheduler: Scheduler, aim: Aim) -> Verdict | None:
    """None: it goes on. A trial may be infeasible by its facts, before its first epoch."""
    if trial.confirms:
        return _verdict_on_repeat(trial, event)
    if outside := aim.outside(trial):
        return Verdict("infeasible", outside)
    if isinstance(event, TrialFacts):
        return None
    if missing := aim.missing(trial):
        return Verdict("failed", missing)
    return _verdict_on_epoch(trial, event, scheduler)


def _verdict_on_repeat(trial: TrialState, event: TrialFacts | EpochDone) -> Verdict | None:
    """Nothing but its own end stops a confirmation."""
    if isinstance(event, TrialFacts):
        return None
    if event.done:
        return Verdict("finished", event.done)
    return _without_objective(trial, event)


def _without_objective(trial: TrialState, event: EpochDone) -> Verdict | None:
    if trial.value(event.epoch) is not None:
        return None
    return Verdict("failed", f"{trial.config.objective.metric} is not a number in epoch {event.epoch}")


def _verdict_on_epoch(trial: TrialState, event: EpochDone, scheduler: Scheduler) -> Verdict | None:
    """A scheduler judges every epoch once, also of trials that it may not stop."""
    stop = None if event.redone else scheduler.judge(trial)
    if event.done:
        return Verdict("finished", event.done)
    if broken := _without_objective(trial, event):
        return broken
    if stop is None or trial.continued:  # a continued trial is one that its cell needs
        return None
    if isinstance(stop, Pause):
        return Verdict("paused", f"{_rung(stop.rung, stop.unit)}: waits for its decision")
    return Verdict("stopped", explain_stop(stop, trial.config.objective), stop)


def explain_stop(stop: Stop, objective: Objective, whose: str = "") -> str:
    """ "rung 3: val_miou 0.412 is below the cutoff 0.518 (rank 4 of 5)" """
    value, cutoff = _told_apart(math.nan if stop.value is None else stop.value, stop.cutoff)
    side, tie = "below" if objective.mode == "max" else "above", ""
    if stop.value == stop.cutoff:
        side, tie = "equal to", ", and the earlier of equals goes on"
    rank = f"(rank {stop.rank} of {stop.of})"
    at = _rung(stop.rung, stop.unit)
    return f"{at}: {whose}{objective.metric} {value} is {side} the cutoff {cutoff}{tie} {rank}"


def _rung(rung: int, unit: Unit) -> str:
    return f"rung {rung}" if unit == "epochs" else f"rung {rung} {unit}"


def _told_apart(one: float, other: float) -> tuple[str, str]:
    """Both numbers in four digits, or in as many as tell them apart."""
    for digits in range(4, 17):
        if f"{one:.{digits}g}" != f"{other:.{digits}g}" or one == other:
            break
    return f"{one:.{digits}g}", f"{other:.{digits}g}"
