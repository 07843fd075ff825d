"""The IoU of every class, by the models of a board."""

from __future__ import annotations

from collections.abc import Iterator

from segsweep.orchestrator.board.rows import Board
from segsweep.orchestrator.board.several import Source
from segsweep.orchestrator.board.tables import Cell, Table
from segsweep.orchestrator.tracking.reader import TrialRow
from segsweep.trainables.metric_names import class_iou, is_class_iou


def class_tables(board: Board, index: Source) -> Iterator[Table]:
    """A table for each dataset: classes against the models that have a finished trial, at its best epoch."""
    for dataset in board.datasets:
        bests = {line.model: score.best for line in board.lines if (score := line.scores.get(dataset)) and score.best}
        values = {model: class_ious(best, index) for model, best in bests.items()}
        classes = list(dict.fromkeys(name for known in values.values() for name in known))
        rows: list[tuple[Cell, ...]] = [(name, *(known.get(name) for known in values.values())) for name in classes]
        yield Table(dataset, ("class", *bests), tuple(rows), () if rows else (f"{dataset}: no trial has finished yet",))


def class_ious(row: TrialRow, index: Source) -> dict[str, float | None]:
    """By class, at the best epoch of a trial."""
    if row.best_epoch is None:
        return {}
    names = sorted(filter(is_class_iou, row.metric_names))
    found = {name: index.over_epochs(row.run_id, name, row.best_epoch) for name in names}
    return {name.removeprefix(class_iou("")): value for name, value in found.items()}
