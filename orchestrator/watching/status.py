"""How far a sweep is, told from its journal alone: works while it runs, after it was killed, and without MLflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from segsweep.orchestrator.driving.recorded import recorded
from segsweep.orchestrator.mirroring.lease import runs_elsewhere
from segsweep.orchestrator.mirroring.places import address_of
from segsweep.orchestrator.next_step import leaderboard_command, resume_command
from segsweep.orchestrator.planning.allocation import Allotment, told
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.record.journal import JOURNAL, RoundClosed, is_locked
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import TrialState, best_of
from segsweep.orchestrator.watching.standing import told_winner, winners
from segsweep.trainables.storage import GIB


def facts(folder: Path) -> dict[str, Any]:
    """JSON-able facts about the sweep in `folder`."""
    spec, created = recorded(folder)
    plan = SweepPlan.of(spec)
    state = SweepState.load(folder / JOURNAL)
    allotted = Allotment.replay(plan, state.rounds).trials
    trials = list(state.trials.values())
    now = phase(folder, state)
    return {
        "sweep": created.sweep,
        "folder": str(folder),
        "address": str(address_of(folder) or ""),
        "state": now,
        "reason": state.ended.reason if state.ended and now != "running" else "",
        "budget": None if spec.budget is None else str(spec.budget),
        "trials": len(state.searched),
        "planned": plan.trials,
        "by_status": dict(Counter(_shown(trial, now) for trial in state.searched)),
        "confirmations": dict(Counter(_shown(trial, now) for trial in trials if trial.confirms)),
        "epochs": sum(trial.epoch for trial in trials),
        "busy_s": round(sum(trial.seconds for trial in trials), 1),
        "redone_s": round(sum(trial.redone_s for trial in trials), 1),
        "allocation": spec.allocation,
        "rounds": [closed.model_dump(include={"dataset", "round", "best", "trials"}) for closed in state.rounds],
        "cells": [_cell_facts(cell.dataset, cell.model, state.cell(cell), allotted[cell]) for cell in plan.cells],
        "confirmed": [told_winner(dataset, best) for dataset, best in winners(state).items() if best.seeds],
        "disk_gib": round(_bytes_in(folder) / GIB, 4),
        "tracking_uri": created.tracking_uri,
    }


def _bytes_in(folder: Path) -> int:
    """Of all files; those that vanish while we look count nothing."""
    found = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            found += path.stat().st_size if path.is_file() else 0
    return found


def _shown(trial: TrialState, now: str) -> str:
    """A trial's status; nothing runs where no driver does, though the journal could not note the end."""
    return "unfinished" if trial.status == "running" and now != "running" else trial.status


def phase(folder: Path, state: SweepState) -> str:
    """running, killed, created, or as its driver ended: done, interrupted, budget, crashed."""
    if is_running(folder):
        return "running"
    if state.ended is None:
        return "killed" if state.driver else "created"
    return state.ended.status


def is_running(folder: Path) -> bool:
    """True while a driver holds the journal's lock; of a sweep that is kept at an address, while one anywhere does."""
    return is_locked(folder) or runs_elsewhere(folder) is not None


def _cell_facts(dataset: str, model: str, trials: list[TrialState], planned: int) -> dict[str, Any]:
    valued = [trial for trial in trials if trial.best is not None]
    best = best_of(valued) if valued else None
    return {
        "dataset": dataset,
        "model": model,
        "best": best.best if best else None,
        "trial": best.id if best else None,
        "trials": len(trials),
        "planned": planned,
        "finished": sum(trial.status == "finished" for trial in trials),
        "failed": sum(trial.status == "failed" for trial in trials),
        "infeasible": sum(trial.status == "infeasible" for trial in trials),
    }


def as_lines(found: dict[str, Any]) -> Iterator[str]:
    """The facts for people."""
    counts = ", ".join(f"{count} {status}" for status, count in found["by_status"].items()) or "none yet"
    adaptively = ", allotted adaptively" if found["allocation"] == "adaptive" else ""
    why = f" ({found['reason']})" if found["reason"] else ""
    trials = f"{found['trials']} of {found['planned']} trials ({counts}){adaptively}"
    yield f"{found['sweep']}: {found['state']}{why}. {trials}"
    if repeats := found["confirmations"]:
        yield f"  {sum(repeats.values())} confirmations ({', '.join(f'{n} {status}' for status, n in repeats.items())})"
    yield from (f"  {won}" for won in found["confirmed"])
    width = max(len(f"{cell['dataset']} {cell['model']}") for cell in found["cells"])
    of = "search's best " if found["confirmed"] else ""
    for cell in found["cells"]:
        value = f"{of}{cell['best']:.4f} (#{cell['trial']})" if cell["best"] is not None else "-"
        name = f"{cell['dataset']} {cell['model']}".ljust(width)
        infeasible = f", {cell['infeasible']} infeasible" if cell["infeasible"] else ""
        done = f"{cell['trials']}/{cell['planned']} trials, {cell['finished']} finished{infeasible}"
        yield f"  {name}  {value:{16 + len(of)}}  {done}"
    for closed in found["rounds"]:
        yield f"  {told(RoundClosed(**closed))}"
    kept = f", kept at {found['address']}" if found["address"] else ""
    yield f"  {found['disk_gib']:.3g} GiB in {found['folder']}{kept}"
    if found["state"] in ("created", "killed", "interrupted", "crashed"):
        yield f"Next: {resume_command(Path(found['folder']))}"
    elif found["state"] in ("done", "budget"):
        yield f"Next: {leaderboard_command(found['sweep'], found['tracking_uri'])}"
