"""What a plan means on the present machine, as numbers and as lines to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from segsweep.orchestrator.capacity import Capacity
from segsweep.orchestrator.plan import SweepPlan


def summary(plan: SweepPlan, capacity: Capacity) -> dict[str, Any]:
    """JSON-able facts: cells with their trials, epochs at most and expected, resources and concurrency."""
    spec = plan.spec
    concurrency = capacity.concurrency(spec.resources)
    return {
        "sweep": spec.name,
        "cells": [
            {"dataset": cell.dataset, "model": cell.model, "combinations": len(found), "trials": plan.trials_of(cell)}
            for cell, found in plan.cells.items()
        ],
        "combinations": len(plan.combinations),
        "trials": plan.trials,
        "epochs_per_trial": spec.epochs,
        "epochs_at_most": plan.epochs_at_most,
        "epochs_expected": round(plan.epochs_expected, 1),
        "searched": sorted({path for combination in plan.combinations for path in combination.domains}),
        "scheduler": spec.scheduler.type,
        "searcher": spec.searcher.type,
        "min_finished": spec.min_finished,
        "resources": {"cpus": spec.resources.cpus, "gpus": capacity.gpus_per_trial(spec.resources)},
        "capacity": {"cpus": capacity.cpus, "gpus": capacity.gpus},
        "concurrency": min(concurrency, spec.max_concurrent or concurrency),
    }


def as_lines(facts: dict[str, Any]) -> Iterator[str]:
    """The summary for people."""
    datasets = list(dict.fromkeys(cell["dataset"] for cell in facts["cells"]))
    models = list(dict.fromkeys(cell["model"] for cell in facts["cells"]))
    cells = _count(len(facts["cells"]), "cell")
    yield f"{facts['sweep']}: {_count(len(datasets), 'dataset')} x {_count(len(models), 'model')} = {cells}"
    yield f"  datasets      {', '.join(datasets)}"
    yield f"  models        {', '.join(models)}"
    yield f"  combinations  {facts['combinations']}, of {', '.join(facts['searched']) or 'no searched parameter'}"
    yield f"  trials        {facts['trials']} ({_per_cell(facts)} a cell, at least {facts['min_finished']} finished)"
    share = facts["epochs_expected"] / facts["epochs_at_most"]
    yield (
        f"  epochs        {facts['epochs_at_most']} at most, about {facts['epochs_expected']:.0f} expected "
        f"under {facts['scheduler']} ({share:.0%})"
    )
    resources, capacity = facts["resources"], facts["capacity"]
    yield f"  a trial gets  {_count(resources['cpus'], 'CPU')}, {_count(resources['gpus'], 'GPU')}"
    yield (
        f"  at once       {_count(facts['concurrency'], 'trial')} on {_count(capacity['cpus'], 'CPU')} "
        f"and {_count(capacity['gpus'], 'GPU')}"
    )


def _per_cell(facts: dict[str, Any]) -> str:
    counts = sorted({cell["trials"] for cell in facts["cells"]})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'' if number == 1 else 's'}"
