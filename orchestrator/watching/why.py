"""Why a trial ended as it did, told from the journal alone: in a sentence or two, or as facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segsweep.orchestrator.checking.explanations import shown
from segsweep.orchestrator.driving.verdicts import explain_stop
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.next_step import resume_command
from segsweep.orchestrator.record.journal import JOURNAL, AttemptEnded, Stop, read_events
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.watching.status import is_running
from segsweep.trainables.config import Objective
from segsweep.trainables.plurals import counted


@dataclass
class Past:
    """What an attempt at a trial leaves behind when another one follows, oldest first."""

    interruptions: list[str] = field(default_factory=list)  # reasons
    failures: list[str] = field(default_factory=list)  # reasons
    stop: Stop | None = None  # the last one, also where the trial went on after it
    log: str = ""  # of the last crash


def facts(folder: Path, trial: str) -> dict[str, Any]:
    """JSON-able facts about a trial of the sweep in `folder`; `trial` is its number, as 017, 17 or #017.

    Raises InputError if there is no such trial.
    """
    state, ends = SweepState(), list[AttemptEnded]()
    for event, _ in read_events(folder / JOURNAL):
        state.apply(event)
        if isinstance(event, AttemptEnded):
            ends.append(event)
    found = _find(trial, state, folder.name)
    past = _past(end for end in ends if end.trial == found.id)
    return {
        "sweep": folder.name,
        "folder": str(folder),
        "trial": found.id,
        "dataset": found.cell.dataset,
        "model": found.cell.model,
        "loss": found.config.loss.name,
        "optimizer": found.config.optimizer.name,
        "values": found.values,
        "status": found.status,
        "runs": found.status == "running" and is_running(folder),
        "reason": found.reason,
        "metric": found.config.objective.metric,
        "mode": found.config.objective.mode,
        "best": found.best,
        "best_epoch": found.best_epoch,
        "epochs": found.epoch,
        "epoch_limit": found.config.epochs,
        "attempts": found.attempt,
        "interruptions": past.interruptions,
        "failures": past.failures,
        "continued": found.continued,
        "log": past.log,
        "damaged_checkpoint": found.facts.get("damaged_checkpoint", ""),
        "batch_size": found.config.batch_size,
        "micro_batch": found.facts.get("micro_batch"),
        "smaller_batches_for": found.facts.get("smaller_batches_for", ""),
        "stop": _stop_facts(past.stop, found, state) if past.stop is not None else None,
    }


def _find(name: str, state: SweepState, sweep: str) -> TrialState:
    number = name.removeprefix("#")
    for trial in state.trials.values():
        if trial.id == number or (number.isdecimal() and trial.id.isdecimal() and int(number) == int(trial.id)):
            return trial
    known = list(state.trials)
    there_are = f"it has {known[0]} to {known[-1]}" if known else "none has been created yet"
    raise InputError(Mistake(sweep, f"no trial '{name}'; {there_are}"))


def _past(ends: Iterable[AttemptEnded]) -> Past:
    past = Past()
    for end in ends:
        if end.status == "interrupted":
            past.interruptions.append(end.reason)
        elif end.status == "failed":
            past.failures.append(end.reason)
        past.stop = end.stop or past.stop
        past.log = end.log or past.log
    return past


def _stop_facts(stop: Stop, trial: TrialState, state: SweepState) -> dict[str, Any]:
    def value(of: TrialState) -> float:
        return of.best_at(stop.rung, stop.unit)

    ahead = [{"trial": other, "value": value(state.trials[other])} for other in stop.ahead]
    return {**stop.model_dump(), "value": value(trial), "ahead": ahead}


def as_lines(found: dict[str, Any]) -> Iterator[str]:
    """The facts for people, a sentence a line."""
    values = ", ".join(f"{path} {_short(value)}" for path, value in found["values"].items())
    made_of = f"{found['loss']} and {found['optimizer']}" + (f" ({values})" if values else "")
    yield f"Trial {found['trial']}, {found['model']} on {found['dataset']} with {made_of}, {_ending(found)}."
    yield from _before(found)
    if found["damaged_checkpoint"]:
        yield f"It went on without a damaged checkpoint ({found['damaged_checkpoint']})."
    if found["log"]:
        yield f"The last lines of its log{'' if found['status'] == 'failed' else ' when it crashed'}:"
        yield from (f"  {line}" for line in found["log"].splitlines())


def _ending(found: dict[str, Any]) -> str:
    epochs = f"{found['epochs']} of {found['epoch_limit']} epochs"
    resume = resume_command(Path(found["folder"]))
    match found["status"]:
        case "stopped" if found["stop"] is not None:
            return f"was stopped at {_comparison(found)}{_ahead(found['stop'])}"
        case "finished":
            best = f"{found['metric']} {_short(found['best'])} in epoch {found['best_epoch']}"
            return f"finished after {epochs} ({found['reason']}); its best is {best}"
        case "running" if found["runs"]:
            return f"is running, {epochs} done"
        case "running":
            return f"was running, {epochs} done, when its driver died; `{resume}` goes on with it"
        case "interrupted":
            return f"was interrupted after {epochs} ({found['reason']}); `{resume}` goes on with it"
        case "created":
            return "has not begun"
        case "infeasible" if not found["epochs"] and found["micro_batch"] != 0:
            return f"is infeasible: {found['reason']}; it was built, and not trained"
        case status:
            return f"{'' if status == 'failed' else 'is '}{status} after {epochs}: {found['reason']}"


def _comparison(found: dict[str, Any]) -> str:
    """ "rung 3: its val_miou 0.41 is below the cutoff 0.52 (rank 4 of 5)" """
    stop = Stop(**{**found["stop"], "ahead": ()})
    return explain_stop(stop, Objective(metric=found["metric"], mode=found["mode"]), whose="its ")


def _ahead(stop: dict[str, Any]) -> str:
    names = [f"{other['trial']} ({_short(other['value'])})" for other in stop["ahead"]]
    more = stop["rank"] - 1 - len(names)
    if not names:  # journals of earlier versions do not say
        return ""
    names += [f"{more} more"] * (more > 0)
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f", behind {listed}"


def _before(found: dict[str, Any]) -> Iterator[str]:
    """What happened on the way, and did not end the trial."""
    if 0 < (found["micro_batch"] or 0) < found["batch_size"]:
        size, seen = (
            f"{counted(found['micro_batch'], 'image')} at once",
            found["smaller_batches_for"],
        )
        smaller = f"; {seen} saw only these" if seen else ", which changes nothing but the time"
        yield f"Memory did not hold its batches of {found['batch_size']}, so it was trained on {size}{smaller}."
    if found["continued"] and found["stop"] is not None and found["status"] != "stopped":
        yield f"It went on after {_comparison(found)}, because its cell needed a finished trial."
    failures = found["failures"][: len(found["failures"]) - (found["status"] == "failed")]
    if failures:
        yield f"It was tried again after it had failed {_times(failures)}."
    resumed = found["interruptions"][: len(found["interruptions"]) - (found["status"] == "interrupted")]
    if resumed:
        yield f"It was interrupted {_times(resumed)} and resumed; it took {found['attempts']} attempts."


def _times(reasons: list[str]) -> str:
    """ "2 times (last: its worker died)" """
    return f"once ({reasons[0]})" if len(reasons) == 1 else f"{len(reasons)} times (last: {reasons[-1]})"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else shown(value)
