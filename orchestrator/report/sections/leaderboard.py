"""Models against datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from segsweep.orchestrator.board.rows import Line, span
from segsweep.orchestrator.durations import duration
from segsweep.orchestrator.record.trials import Cell
from segsweep.orchestrator.report.contents import Plot, Section, Table, Text
from segsweep.orchestrator.report.data import Outcome, Trial, values_shown
from segsweep.orchestrator.report.figures import SCALE, SHORT, axis, broken, layout, literal, tall
from segsweep.orchestrator.report.words import metric_words, number
from segsweep.orchestrator.watching.standing import Standing


def section(data: Outcome) -> Section:
    note = (
        f"{metric_words(data.metric)}, * the best of its dataset. {values_shown(data)} "
        "Brighter is better: colours go from worst to best on each dataset, since values on two do not compare."
    )
    return Section("leaderboard", "Leaderboard", [Text(note, "note"), *_heat_map(data), _table(data)])


def _heat_map(data: Outcome) -> Iterator[Plot]:
    """None while nothing has finished."""
    board, standings = data.board, _standings(data)
    if not standings:
        return
    columns = [[_value(standings, line, dataset) for line in board.lines] for dataset in board.datasets]
    shades = [_places(column, data.mode == "max") for column in columns]
    trace = {
        "type": "heatmap",
        "x": [broken(dataset, SHORT) for dataset in board.datasets],
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
    # a slanted name could be that of any column
    x = axis("", side="top", type="category", autotickangles=[0, -90])
    y = axis("", autorange="reversed", type="category")
    height = tall([broken(line.model) for line in board.lines]) + 30
    yield Plot("leaderboard", "Heat map", [trace], layout(x, y, height=height, legend=False))


def _standings(data: Outcome) -> dict[Cell, Standing[Trial]]:
    return {one.trial.cell: one for dataset in data.datasets for one in data.standings(dataset)}


def _value(standings: Mapping[Cell, Standing[Trial]], line: Line, dataset: str) -> float | None:
    found = standings.get(Cell(dataset, line.model))
    return found.value if found else None


def _places(values: Sequence[float | None], more_is_better: bool) -> list[float | None]:
    """0 for the worst to 1 for the best."""
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    if high == low:
        return [None if value is None else 1.0 for value in values]
    places = [None if value is None else (value - low) / (high - low) for value in values]
    return places if more_is_better else [None if place is None else 1 - place for place in places]


def _table(data: Outcome) -> Table:
    board = data.board
    several = len(board.datasets) > 1
    headers = ["model", *board.datasets, *["mean"] * several]
    headers += ["trials", "finished", "stopped", "failed", "parameters (M)", "GMACs", "search time"]
    rows = [(*_scores(line, data), *_counts(line), *_size(line)) for line in board.lines]
    return Table(tuple(headers), tuple(rows))


def _scores(line: Line, data: Outcome) -> list[str]:
    standings = _standings(data)
    leaders = {data.winners(dataset)[0].cell for dataset in data.datasets if data.winners(dataset)}
    values = [_value(standings, line, dataset) for dataset in data.datasets]
    shown = [
        f"{'*' * (Cell(dataset, line.model) in leaders)}{number(value)}"
        for dataset, value in zip(data.datasets, values, strict=True)
    ]
    known = [value for value in values if value is not None]
    mean = fmean(known) if known and len(known) == len(values) else None  # over others it would not compare
    return [line.model, *shown, *[number(mean)] * (len(values) > 1)]


def _counts(line: Line) -> list[str]:
    scores = list(line.scores.values())
    return [str(sum(getattr(score, name) for score in scores)) for name in ("trials", "finished", "stopped", "failed")]


def _size(line: Line) -> list[str]:
    """A range where the model has one on each dataset."""
    sizes = [span(line.sizes(name), form) or "-" for name, form in (("params_m", "{:.2f}"), ("gmacs", "{:.3g}"))]
    return [*sizes, duration(line.gpu_s or line.cpu_s)]
