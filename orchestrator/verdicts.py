"""What an epoch means for its trial: it goes on, or how it ends and why."""

from __future__ import annotations

from typing import NamedTuple

from segsweep.orchestrator.journal import EndStatus, EpochDone, Stop
from segsweep.orchestrator.schedulers import Pause, Scheduler
from segsweep.orchestrator.state import TrialState


class Verdict(NamedTuple):
    """How a trial shall end."""

    status: EndStatus
    reason: str
    stop: Stop | None = None


def verdict_on(trial: TrialState, event: EpochDone, scheduler: Scheduler) -> Verdict | None:
    """None: it goes on. A scheduler judges every epoch once, also of trials that it may not stop."""
    stop = None if event.redone else scheduler.judge(trial)
    if event.done:
        return Verdict("finished", event.done)
    if trial.value(event.epoch) is None:
        return Verdict("failed", f"{trial.config.objective.metric} is not a number in epoch {event.epoch}")
    if stop is None or trial.continued:  # a continued trial is one that its cell needs
        return None
    if isinstance(stop, Pause):
        return Verdict("paused", f"rung {stop.rung}: waits for its decision")
    return Verdict("stopped", explain_stop(stop, trial), stop)


def explain_stop(stop: Stop, trial: TrialState) -> str:
    """ "rung 3: val_miou 0.412 is below the cutoff 0.518 (rank 4 of 5)" """
    objective = trial.config.objective
    side = "below" if objective.mode == "max" else "above"
    value = f"{trial.best_until(stop.rung):.4g}"
    rank = f"(rank {stop.rank} of {stop.of})"
    return f"rung {stop.rung}: {objective.metric} {value} is {side} the cutoff {stop.cutoff:.4g} {rank}"
