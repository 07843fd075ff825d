"""What a plan means on the present machine, as numbers and as lines to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from segsweep.orchestrator.durations import duration
from segsweep.orchestrator.forecasting.paces import Paces
from segsweep.orchestrator.forecasting.rehearsal import Expected, rehearse
from segsweep.orchestrator.planning.allocation import limits
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.record.trials import Cell
from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.orchestrator.resources.fits import Fit
from segsweep.orchestrator.resources.share import Share
from segsweep.orchestrator.space.budget import Budget
from segsweep.orchestrator.space.own_losses import has_own_loss
from segsweep.orchestrator.space.spec import SweepSpec
from segsweep.trainables.plurals import counted


def concurrency(spec: SweepSpec, capacity: Capacity, share: Share | None = None) -> int:
    """Trials at once; 0 if not even one fits. share: see `Capacity.concurrency`."""
    fit = capacity.concurrency(spec.resources, share)
    return min(fit, spec.max_concurrent or fit)


def summary(plan: SweepPlan, capacity: Capacity, paces: Paces | None = None, fit: Fit | None = None) -> dict[str, Any]:
    """JSON-able facts: cells with their trials, epochs at most and expected, resources and concurrency.

    fit: what a trial gets, as far as memory decides. With `paces` also wall time and device hours (of GPUs, or of CPUs
    on a CPU); without, the makespan counts epochs.
    """
    spec = plan.spec
    share = fit.share if fit else capacity.asked(spec.resources)
    at_once, gpus = concurrency(spec, capacity, share), share.gpus
    trials = limits(plan).values()
    rehearsal = rehearse(plan, max(1, at_once), paces.cells if paces else None)
    return {
        "sweep": spec.name,
        "cells": [
            {**_cell(plan, cell, expected, paces), "trials_at_least": fewest, "trials_at_most": most}
            for (cell, expected), (fewest, most) in zip(rehearsal.cells.items(), trials, strict=True)
        ],
        "own_losses": [model.name for model in spec.models if has_own_loss(model)],
        "combinations": len(plan.combinations),
        "trials": plan.trials,
        "allocation": spec.allocation,
        "epochs_per_trial": spec.epochs,
        "epochs_at_most": plan.epochs_at_most,
        "epochs_expected": round(rehearsal.epochs, 1),
        "makespan_epochs": None if paces else round(rehearsal.makespan_s, 1),
        "time": {
            "source": paces.source,
            "wall_s": round(rehearsal.makespan_s, 1),
            "busy_s": round(rehearsal.busy_s, 1),
            "device": "GPU" if gpus else "CPU",
            "device_hours": round(rehearsal.busy_s / 3600 * (gpus or spec.resources.cpus), 4),
        }
        if paces
        else None,
        "disk": _disk(plan, at_once, paces) if paces else None,
        "searched": sorted({path for combination in plan.combinations for path in combination.domains}),
        "scheduler": spec.scheduler.type,
        "searcher": spec.searcher.type,
        "min_finished": spec.min_finished,
        "confirm": spec.confirm and {**spec.confirm.model_dump(), "trials": plan.confirmations},
        "budget": spec.budget and spec.budget.model_dump(exclude_none=True),
        "resources": {"cpus": spec.resources.cpus, "gpus": gpus, "memory_gib": round(share.memory_gib, 2)},
        "memory": list(fit.lines) if fit else [],
        "capacity": {"cpus": capacity.cpus, "gpus": capacity.gpus},
        "concurrency": at_once,
    }


def _disk(plan: SweepPlan, at_once: int, paces: Paces) -> dict[str, float] | None:
    """GiB of checkpoints. None if nobody knows their sizes.

    At worst every trial waits at a rung with last, the one before and best, while others write. Once min_finished
    trials of a cell have finished, those that were stopped keep best alone.
    """
    at_worst = at_the_end = 0.0
    for cell, (_, most) in limits(plan).items():
        pace = paces.cells[cell]
        at_worst += most * (2 * pace.last_gib + pace.best_gib)
        at_the_end += most * (pace.last_gib + pace.best_gib)
    if not at_worst:
        return None
    writing = at_once * max(pace.last_gib for pace in paces.cells.values())
    return {"at_worst_gib": round(at_worst + writing, 4), "all_finished_gib": round(at_the_end, 4)}


def _cell(plan: SweepPlan, cell: Cell, expected: Expected, paces: Paces | None) -> dict[str, Any]:
    facts = {
        "dataset": cell.dataset,
        "model": cell.model,
        "combinations": len(plan.cells[cell]),
        "trials": round(expected.trials, 1),
        "epochs_expected": round(expected.epochs, 1),
    }
    if paces is None:
        return facts
    pace = {name: round(seconds, 4) for name, seconds in paces.cells[cell]._asdict().items()}
    return facts | pace | {"busy_s": round(expected.busy_s, 1), "assumed": cell in paces.assumed}


def as_lines(facts: dict[str, Any]) -> Iterator[str]:
    """The summary for people."""
    datasets = list(dict.fromkeys(cell["dataset"] for cell in facts["cells"]))
    models = list(dict.fromkeys(cell["model"] for cell in facts["cells"]))
    cells = counted(len(facts["cells"]), "cell")
    yield f"{facts['sweep']}: {counted(len(datasets), 'dataset')} x {counted(len(models), 'model')} = {cells}"
    yield f"  datasets      {', '.join(datasets)}"
    yield f"  models        {', '.join(models)}"
    if facts["own_losses"]:
        yield f"  losses        {', '.join(facts['own_losses'])}: own, instead of the sweep's"
    yield f"  combinations  {facts['combinations']}, of {', '.join(facts['searched']) or 'no searched parameter'}"
    yield f"  trials        {facts['trials']} ({_per_cell(facts)} a cell, at least {facts['min_finished']} finished)"
    if confirm := facts["confirm"]:
        more = f"{confirm['trials']} trials at most, scored on test"
        yield f"  then confirm  the best {confirm['top']} of each cell with {confirm['seeds']} fresh seeds each: {more}"
    share = facts["epochs_expected"] / facts["epochs_at_most"]
    yield (
        f"  epochs        {facts['epochs_at_most']} at most, about {facts['epochs_expected']:.0f} expected "
        f"under {facts['scheduler']} ({share:.0%})"
    )
    if facts["budget"]:
        yield f"  budget        {Budget(**facts['budget'])}{_too_little(facts)}"
    resources, capacity = facts["resources"], facts["capacity"]
    gets = ", ".join(counted(resources[key], noun) for key, noun in (("cpus", "CPU"), ("gpus", "GPU")))
    yield f"  a trial gets  {gets}{_memory(resources)}"
    for line in facts["memory"]:
        yield f"    {line}"
    yield (
        f"  at once       {counted(facts['concurrency'], 'trial')} on {counted(capacity['cpus'], 'CPU')} "
        f"and {counted(capacity['gpus'], 'GPU')}"
    )
    yield from _time_lines(facts)
    if disk := facts["disk"]:
        worst, end = f"{disk['at_worst_gib']:.3g} GiB at worst", f"{disk['all_finished_gib']:.3g} GiB if all finish"
        yield f"  disk          checkpoints of {worst}, {end}; those of stopped trials are removed"


def _too_little(facts: dict[str, Any]) -> str:
    """Which limits the sweep is expected to meet; "" for none that is known."""
    time = facts["time"] or {"wall_s": 0.0, "device_hours": 0.0}
    expected = {
        "trials": facts["trials"] + (facts["confirm"] or {"trials": 0})["trials"],
        "epochs": facts["epochs_expected"],
        "gpu_hours": time["device_hours"],
        "wall_hours": time["wall_s"] / 3600,
    }
    short = [name for name, limit in facts["budget"].items() if limit < expected[name]]
    return f"; {' and '.join(short)} will end the sweep early" if short else ""


def _time_lines(facts: dict[str, Any]) -> Iterator[str]:
    time, at_once = facts["time"], counted(max(1, facts["concurrency"]), "trial")
    if time is None:
        epochs = f"about that of {facts['makespan_epochs']:.0f} epochs with {at_once} at once"
        yield f"  time          {epochs}; in minutes with --measure, or --times SWEEP of an earlier sweep"
        return
    hours = f"{time['device_hours']:.2g} {time['device']}-hours"
    yield f"  time          about {duration(time['wall_s'])} with {at_once} at once, {hours}; {time['source']}"
    width = max(len(f"{cell['dataset']} {cell['model']}") for cell in facts["cells"])
    for cell in facts["cells"]:
        name = f"{cell['dataset']} {cell['model']}".ljust(width)
        pace = f"{cell['epoch_s']:.3g} s an epoch, {cell['setup_s']:.2g} s to set up"
        like = "; never timed, taken for the mean of the others of its dataset" if cell["assumed"] else ""
        yield f"    {name}  {duration(cell['busy_s'])} ({pace}{like})"


def _per_cell(facts: dict[str, Any]) -> str:
    fewest = min(cell["trials_at_least"] for cell in facts["cells"])
    most = max(cell["trials_at_most"] for cell in facts["cells"])
    counts = str(most) if fewest == most else f"{fewest} to {most}"
    return f"adaptively {counts}" if facts["allocation"] == "adaptive" else counts


def _memory(resources: dict[str, Any]) -> str:
    return f", {resources['memory_gib']:.2g} GiB of memory" if resources["memory_gib"] else ""
