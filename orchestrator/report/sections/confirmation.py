"""What fresh seeds say: intervals, ties, and how lucky the search was."""

from __future__ import annotations

from collections.abc import Sequence

from segsweep.orchestrator.board.confirmed import Confirmed
from segsweep.orchestrator.board.formats import confirmed_cells, confirmed_notes
from segsweep.orchestrator.report.contents import Block, Plot, Section, Table, Text
from segsweep.orchestrator.report.data import Outcome
from segsweep.orchestrator.report.figures import NEUTRAL, PALETTE, axis, broken, layout, rounded, tall
from segsweep.orchestrator.report.words import metric_words


def section(data: Outcome) -> Section:
    rows = data.board.confirmed.rows
    if not rows:
        text = (
            "Nothing is confirmed: the values above come from the search, which keeps the luckiest of many trials. "
            f"`segsweep confirm {data.sweep}` trains the best of every cell again with fresh seeds and scores them on "
            "the test split; then this part shows 95 % intervals, and which models are tied."
        )
        return Section("confirmation", "Intervals and ties", [Text(text)])
    headers, *cells = confirmed_cells(data.board)
    blocks: list[Block] = [
        _plot(dataset, [row for row in rows if row.dataset == dataset]) for dataset in _datasets(rows)
    ]
    blocks.append(Table(tuple(headers), tuple(map(tuple, cells)), names=2))
    blocks += [Text(f"{note}.", "note") for note in confirmed_notes(data.board.confirmed)]
    return Section("confirmation", "Intervals and ties", blocks)


def _datasets(rows: Sequence[Confirmed]) -> list[str]:
    return list(dict.fromkeys(row.dataset for row in rows))


def _plot(dataset: str, rows: Sequence[Confirmed]) -> Plot:
    """The confirmed value with its interval; beside it what the search had said."""
    names = [broken(row.model) for row in rows]
    widths = [0.0 if row.high is None else row.high - row.value for row in rows]
    below = [0.0 if row.low is None else row.value - row.low for row in rows]
    confirmed = {
        "type": "scatter",
        "mode": "markers",
        "name": f"confirmed: {metric_words(rows[0].metric)}, 95 % interval",
        "x": rounded([row.value for row in rows]),
        "y": names,
        "error_x": {"type": "data", "symmetric": False, "array": rounded(widths), "arrayminus": rounded(below)},
        "marker": {"color": PALETTE[0], "size": 11},
    }
    searched = {
        "type": "scatter",
        "mode": "markers",
        "name": "as the search had it (validation)",
        "x": rounded([row.searched for row in rows]),
        "y": names,
        "marker": {"color": NEUTRAL, "size": 10, "symbol": "diamond-open", "line": {"width": 2}},
    }
    x, y = axis(metric_words(rows[0].metric)), axis("", autorange="reversed", type="category")
    plot = layout(x, y, height=tall(names) + 60)
    return Plot(f"confirmed-{dataset}", f"{dataset}: confirmed values", [confirmed, searched], plot)
