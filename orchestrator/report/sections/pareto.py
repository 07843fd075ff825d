"""What quality costs: the winner of each model against latency, parameters, memory and time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from segsweep.orchestrator.report.contents import Block, Grid, Plot, Section, Text
from segsweep.orchestrator.report.data import ReportData, Trial, values_shown
from segsweep.orchestrator.report.figures import NEUTRAL, Trace, axis, key, layout, literal, rounded, style_of
from segsweep.orchestrator.report.words import metric_words
from segsweep.orchestrator.watching.standing import Standing


class Price(NamedTuple):
    words: str  # with its unit
    of: Callable[[Trial], float | None]


def _fact(name: str) -> Callable[[Trial], float | None]:
    def of(trial: Trial) -> float | None:
        value = trial.facts.get(name)
        return None if isinstance(value, str) else value

    return of


PRICES = {
    "latency": Price("latency (ms an image)", _fact("latency_ms")),
    "parameters": Price("parameters (millions)", _fact("params_m")),
    "memory": Price("peak memory of training (GiB)", lambda trial: trial.peak_memory_gib),
    "cost": Price("training (device seconds of the trial)", lambda trial: trial.device_s),
}


def section(data: ReportData) -> Section:
    note = (
        f"{values_shown(data)} Those on the line are the Pareto front: no other model is at least as good and cheaper. "
        "Price is that of one run. Latency is of one image, on the device that the trial was trained on."
    )
    blocks: list[Block] = [Text(note, "note"), key(data.models)]
    for dataset in data.datasets:
        plots = [_plot(data, dataset, name) for name in PRICES if _priced(data.standings(dataset), name)]
        blocks += [Grid(tuple(plots))] if plots else [Text(f"{dataset}: no trial has finished.")]
    return Section("pareto", "Quality and cost", blocks)


def _priced(standings: Sequence[Standing[Trial]], name: str) -> list[tuple[float, float, Trial]]:
    """Price, value and trial of those that have a price."""
    found = [(PRICES[name].of(one.trial), one.value, one.trial) for one in standings]
    return [(price, value, trial) for price, value, trial in found if price is not None]


def front(points: Sequence[tuple[float, float]], more_is_better: bool) -> list[tuple[float, float]]:
    """Those (price, value) that no other beats in one and equals in the other, the cheapest first."""
    sign = 1.0 if more_is_better else -1.0
    found: list[tuple[float, float]] = []
    for price, value in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not found or sign * value > sign * found[-1][1]:
            found.append((price, value))
    return found


def _plot(data: ReportData, dataset: str, name: str) -> Plot:
    priced = _priced(data.standings(dataset), name)
    line = front([(price, value) for price, value, _ in priced], data.mode == "max")
    traces: list[Trace] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "Pareto front",
            "x": rounded([price for price, _ in line]),
            "y": rounded([value for _, value in line]),
            "line": {"color": NEUTRAL, "width": 1.5, "shape": "hv"},
            "hoverinfo": "skip",
        }
    ]
    traces += [_point(data, *point) for point in sorted(priced, key=lambda point: point[2].cell.model)]
    x = axis(PRICES[name].words, rangemode="tozero")
    look = layout(x, axis(metric_words(data.metric)), legend=False)
    return Plot(f"pareto-{dataset}-{name}", f"{dataset}: {PRICES[name].words.partition(' (')[0]}", traces, look)


def _point(data: ReportData, price: float, value: float, trial: Trial) -> Trace:
    color, symbol, _ = style_of(trial.cell.model, data.models)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": literal(trial.cell.model),
        "x": rounded([price]),
        "y": rounded([value]),
        "marker": {"color": color, "symbol": symbol, "size": 12},
        "hovertemplate": f"#{trial.id}: %{{y:.4f}} at %{{x}}<extra>%{{fullData.name}}</extra>",
    }
