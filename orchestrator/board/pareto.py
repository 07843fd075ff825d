"""Which models are worth their cost: those that no other beats in quality without costing more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from segsweep.orchestrator.board.confirmed import Confirmed
from segsweep.orchestrator.board.rows import Board
from segsweep.orchestrator.board.score import LATENCY, LEAST, Score
from segsweep.orchestrator.board.tables import Table


class Point(NamedTuple):
    model: str
    metric: str  # what its value is of: a confirmed one may be of the test split
    value: float  # the confirmed one where there is one
    cost: float
    confirmed: bool
    front: bool


def points(board: Board, dataset: str, by: str) -> list[Point]:
    """Of the models that have both numbers, the cheapest first. by: a key of SIZES, or cost."""
    sign = 1.0 if board.mode == "max" else -1.0
    found = []
    for line in board.lines:
        score, confirmed = line.scores.get(dataset, Score(None)), board.confirmed.of(dataset, line.model)
        value = confirmed.value if confirmed else score.value
        if value is not None and (cost := _cost(score, confirmed, by)) is not None:
            metric = confirmed.metric if confirmed else board.metric
            found.append(Point(line.model, metric, value, cost, confirmed is not None, front=False))
    return [
        one._replace(front=not any(_beats(other, one, sign) for other in found))
        for one in sorted(found, key=lambda one: (one.cost, -sign * one.value, one.model))
    ]


def _cost(score: Score, confirmed: Confirmed | None, by: str) -> float | None:
    """Of the trial that the value is of; cost: seconds, of all trials of the search on the dataset."""
    if by == "cost":
        return score.gpu_s or score.cpu_s or None
    if confirmed is None:
        return score.size(by)
    name = confirmed.sweep, confirmed.trial
    return next((score.size(by, row) for row in score.rows if (row.sweep, row.trial_id) == name), None)


def _beats(a: Point, b: Point, sign: float) -> bool:
    """At least as good at no more cost, and better in one of both."""
    return sign * a.value >= sign * b.value and a.cost <= b.cost and (a.value, a.cost) != (b.value, b.cost)


def tables(board: Board, by: str) -> Iterator[Table]:
    """A table for each dataset."""
    better = "higher" if board.mode == "max" else "lower"
    for dataset in board.datasets:
        found = points(board, dataset, by)
        rows = tuple(
            (one.model, "*" if one.front else "", "yes" if one.confirmed else "", one.metric, one.value, one.cost)
            for one in found
        )
        unknown = sorted({line.model for line in board.lines if dataset in line.scores} - {one.model for one in found})
        notes = [f"* on the front: no other has a {better} value at no more {by}"]
        notes += [f"{by}: {LEAST}"] if by == LATENCY else []
        notes += [f"not placed, as a number is missing: {', '.join(unknown)}"] if unknown else []
        if sure := sum(one.confirmed for one in found):
            others = "; the others are of one seed, and flatter" if sure < len(found) else ""
            notes.append(f"confirmed values are means over fresh seeds{others}")
        yield Table(dataset, ("model", "front", "confirmed", "metric", "value", by), rows, tuple(notes))
