"""What quality costs: each model against latency, parameters, memory and time, as `segsweep pareto` has it."""

from __future__ import annotations

from collections.abc import Sequence

from segsweep.orchestrator.board.pareto import Point, points
from segsweep.orchestrator.board.score import LEAST
from segsweep.orchestrator.report.contents import Block, Grid, Plot, Section, Text
from segsweep.orchestrator.report.data import ReportData
from segsweep.orchestrator.report.figures import NEUTRAL, Trace, axis, key, layout, literal, style_of
from segsweep.orchestrator.report.words import metric_words

PRICES = {
    "latency_ms": "latency (ms an image)",
    "params_m": "parameters (millions)",
    "peak_memory_gib": "peak memory of training (GiB)",
    "cost": "time of the search (device seconds)",
}


def section(data: ReportData) -> Section:
    note = (
        f"{_quality(data)} Those on the line are the Pareto front: no other model is at least as good and "
        f"cheaper. `segsweep pareto {data.sweep}` prints these numbers. Latency: {LEAST}."
    )
    blocks: list[Block] = [Text(note, "note"), key(data.models)]
    for dataset in data.datasets:
        found = {by: points(data.board, dataset, by) for by in PRICES}
        plots = [_plot(data, dataset, by, placed) for by, placed in found.items() if placed]
        blocks += [Grid(tuple(plots))] if plots else [Text(f"{dataset}: no trial has finished.")]
    return Section("pareto", "Quality and cost", blocks)


def _quality(data: ReportData) -> str:
    if data.board.confirmed.rows:
        return (
            "Confirmed models with their values of Intervals and ties, means over fresh seeds; "
            "others, if any, as open marks with the best trial of the search."
        )
    return "The best finished trial of each model in the search, which nothing confirms."


def _plot(data: ReportData, dataset: str, by: str, found: Sequence[Point]) -> Plot:
    front = [one for one in found if one.front]
    line: Trace = {
        "type": "scatter",
        "mode": "lines",
        "name": "Pareto front",
        "x": [one.cost for one in front],
        "y": [one.value for one in front],
        "line": {"color": NEUTRAL, "width": 1.5, "shape": "hv"},
        "hoverinfo": "skip",
    }
    x = axis(PRICES[by], rangemode="tozero")
    y = axis(" or ".join(sorted({metric_words(one.metric) for one in found})))
    traces = [line, *(_mark(data, one) for one in sorted(found, key=lambda one: one.model))]
    title = f"{dataset}: {PRICES[by].partition(' (')[0]}"
    return Plot(f"pareto-{dataset}-{by}", title, traces, layout(x, y, legend=False))


def _mark(data: ReportData, one: Point) -> Trace:
    color, symbol, _ = style_of(one.model, data.models)
    sure = one.confirmed or not data.board.confirmed.rows
    return {
        "type": "scatter",
        "mode": "markers",
        "name": literal(one.model),
        "x": [one.cost],
        "y": [one.value],
        "marker": {"color": color, "symbol": symbol if sure else f"{symbol}-open", "size": 12},
        "hovertemplate": "%{y:.4f} at %{x:.4f}<extra>%{fullData.name}</extra>",
    }
