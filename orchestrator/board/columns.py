"""The columns of a leaderboard, as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from segsweep.orchestrator.board.rows import Board, Line, span
from segsweep.orchestrator.board.score import Score
from segsweep.orchestrator.durations import duration

PADDING = 2  # between two columns
ONE = ("counts", "params", "cost")  # shown of a board of one dataset
SEVERAL = ("mean", "rank", "params", "cost")


class Column(NamedTuple):
    header: str
    cells: list[str]  # one a line of the board
    bold: tuple[bool, ...] = ()

    @property
    def width(self) -> int:
        return max(map(len, [self.header, *self.cells])) + PADDING


def columns_of(board: Board) -> list[Column]:
    """Model, then the datasets, then what was asked for."""
    lines = board.lines
    columns = [Column("model", [line.model for line in lines])]
    for dataset in board.datasets:
        scores = [line.scores.get(dataset, Score(None)) for line in lines]
        texts = list(_score_texts(scores, counts=len(board.datasets) > 1))
        columns.append(Column(dataset, texts, tuple(s.leads for s in scores)))
    shown = board.columns or (ONE if len(board.datasets) == 1 else SEVERAL)
    return [*columns, *(column for name in shown for column in FURTHER[name](board))]


def _score_texts(scores: list[Score], counts: bool) -> Iterator[str]:
    """Values and counts aligned below each other; where there is no value, why."""
    told = [f"{score.trials}/{score.finished}/{score.failed}" for score in scores]
    width = max(map(len, told)) if counts else 0
    for score, text in zip(scores, told, strict=True):
        if score.value is not None:
            yield f"{'*' * score.leads}{score.value:.4f}" + f" {text:>{width}}" * counts
        else:
            yield _why_empty(score)


def _why_empty(score: Score) -> str:
    parts = {"finished": score.finished, "failed": score.failed, "infeasible": score.infeasible}
    parts |= {"stopped": score.stopped, "unfinished": score.open}
    why = ", ".join(f"{count} {name}" for name, count in parts.items() if count)
    return f"- ({why})" if why else "-"


def _counts(board: Board) -> list[Column]:
    scores = [_total(line) for line in board.lines]
    names = ["trials", "finished", "stopped", "failed", *(["infeasible"] if any(s.infeasible for s in scores) else [])]
    return [Column(name, [str(getattr(s, name)) for s in scores]) for name in names]


def _total(line: Line) -> Score:
    """Its counts, over all datasets."""
    names = ("trials", "finished", "stopped", "failed", "infeasible")
    return Score(None, **{name: sum(getattr(score, name) for score in line.scores.values()) for name in names})


def _numbers(header: str, of: Callable[[Board, Line], float | None], form: str) -> Callable[[Board], list[Column]]:
    def column(board: Board) -> list[Column]:
        values = [of(board, line) for line in board.lines]
        return [Column(header, ["-" if value is None else form.format(value) for value in values])]

    return column


def _sizes(header: str, name: str, form: str) -> Callable[[Board], list[Column]]:
    """A range where a model has one on each dataset, as a column is of all of them."""
    return lambda board: [Column(header, [span(line.sizes(name), form) or "-" for line in board.lines])]


def _licences(board: Board) -> list[Column]:
    return [Column("licence", [line.licence or "-" for line in board.lines])]


def _times(board: Board) -> list[Column]:
    """Busy time of the devices, over all of a model's trials."""
    kinds: dict[str, Callable[[Line], float]] = {"GPU time": lambda x: x.gpu_s, "CPU time": lambda x: x.cpu_s}
    used = {name: cost for name, cost in kinds.items() if any(cost(line) for line in board.lines)}
    return [Column(name, [duration(cost(line)) for line in board.lines]) for name, cost in used.items()]


FURTHER: Mapping[str, Callable[[Board], list[Column]]] = {
    "counts": _counts,
    "mean": _numbers("mean", lambda board, line: line.mean(board.datasets), "{:.4f}"),
    "rank": _numbers("rank", lambda board, line: line.mean_rank(board.datasets), "{:.3g}"),
    "params": _sizes("params", "params_m", "{:.1f}M"),
    "gmacs": _sizes("GMACs", "gmacs", "{:.1f}"),
    "latency": _sizes("ms/image", "latency_ms", "{:.1f}"),
    "memory": _sizes("peak GiB", "peak_memory_gib", "{:.2f}"),
    "licence": _licences,
    "cost": _times,
}
