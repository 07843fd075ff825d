"""Models against datasets."""

from __future__ import annotations

from collections.abc import Sequence

from segsweep.orchestrator.board.rows import Board, Line, Score
from segsweep.orchestrator.durations import duration
from segsweep.orchestrator.report.contents import Plot, Section, Table, Text
from segsweep.orchestrator.report.data import Outcome
from segsweep.orchestrator.report.figures import SCALE, axis, broken, layout, literal, tall
from segsweep.orchestrator.report.words import metric_words, number


def section(data: Outcome) -> Section:
    note = (
        f"{metric_words(data.metric)} of the best finished trial at its best epoch (* the best of its dataset). "
        "Brighter is better: colours go from worst to best on each dataset, since values on two do not compare."
    )
    return Section("leaderboard", "Leaderboard", [Text(note, "note"), _heat_map(data), _table(data.board)])


def _heat_map(data: Outcome) -> Plot:
    board = data.board
    columns = [[_value(line, dataset) for line in board.lines] for dataset in board.datasets]
    shades = [_places(column, data.mode == "max") for column in columns]
    trace = {
        "type": "heatmap",
        "x": [broken(dataset) for dataset in board.datasets],
        "y": [broken(line.model) for line in board.lines],
        "z": [list(row) for row in zip(*shades, strict=True)],
        "text": [[literal(number(value)) for value in row] for row in zip(*columns, strict=True)],
        "texttemplate": "%{text}",
        "hovertemplate": "%{y} on %{x}: %{text}<extra></extra>",
        "colorscale": SCALE,
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    x, y = axis("", side="top", type="category"), axis("", autorange="reversed", type="category")
    height = tall(len(board.lines)) + 30
    return Plot("leaderboard", "Heat map", [trace], layout(x, y, height=height, legend=False))


def _value(line: Line, dataset: str) -> float | None:
    return line.scores[dataset].value if dataset in line.scores else None


def _places(values: Sequence[float | None], more_is_better: bool) -> list[float | None]:
    """0 for the worst to 1 for the best."""
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    if high == low:
        return [None if value is None else 1.0 for value in values]
    places = [None if value is None else (value - low) / (high - low) for value in values]
    return places if more_is_better else [None if place is None else 1 - place for place in places]


def _table(board: Board) -> Table:
    several = len(board.datasets) > 1
    headers = ["model", *board.datasets, *["mean"] * several]
    headers += ["trials", "finished", "stopped", "failed", "parameters (M)", "GMACs", "device time"]
    rows = [(*_scores(line, board, several), *_counts(line), *_size(line)) for line in board.lines]
    return Table(tuple(headers), tuple(rows))


def _scores(line: Line, board: Board, several: bool) -> list[str]:
    scores = [line.scores.get(dataset, Score(None)) for dataset in board.datasets]
    values = [f"{'*' * score.leads}{number(score.value)}" for score in scores]
    return [line.model, *values, *[number(line.mean(board.datasets))] * several]


def _counts(line: Line) -> list[str]:
    scores = list(line.scores.values())
    return [str(sum(getattr(score, name) for score in scores)) for name in ("trials", "finished", "stopped", "failed")]


def _size(line: Line) -> list[str]:
    params = "-" if line.params_m is None else f"{line.params_m:.2f}"
    gmacs = "-" if line.gmacs is None else f"{line.gmacs:.3g}"
    return [params, gmacs, duration(line.gpu_s or line.cpu_s)]
