"""What the searched numbers did to the objective, model by model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from segsweep.orchestrator.report.contents import Block, Grid, Plot, Section, Text
from segsweep.orchestrator.report.data import ReportData, Trial
from segsweep.orchestrator.report.figures import Trace, axis, key, layout, literal, log_axis, rounded, style_of
from segsweep.orchestrator.report.words import listed, metric_words
from segsweep.trainables.plurals import counted

FIRST = ("optimizer.lr", "optimizer.weight_decay")
MOST = 4  # numbers that are drawn
LOG_FROM = 20.0  # largest / smallest value of a number that gets a logarithmic axis
WORDS = {"optimizer.lr": "learning rate", "optimizer.weight_decay": "weight decay"}


def section(data: ReportData) -> Section:
    paths = _numbers(data)
    title = "Learning rate, weight decay and other numbers"
    if not paths:
        return Section("responses", title, [Text("No number was searched.")])
    note = (
        f"{metric_words(data.metric)} of each trial against what the search chose. Filled: finished; open: stopped "
        "early or not finished, so it might have become better. Where the best lie at a rim, widen the range."
    )
    blocks: list[Block] = [Text(note, "note"), key(data.models)]
    for dataset in data.datasets:
        trials = [trial for trial in data.searched(dataset) if trial.best is not None]
        plots = [_plot(data, dataset, path, trials) for path in paths[:MOST]]
        blocks.append(Grid(tuple(plots)))
        if lost := [trial for trial in data.searched(dataset) if trial.status in ("failed", "infeasible")]:
            blocks.append(Text(f"{dataset}: {_lost(lost)}", "note"))
    if more := paths[MOST:]:
        blocks.append(Text(f"Searched as well, and not drawn: {listed(more)}.", "note"))
    return Section("responses", title, blocks)


def _numbers(data: ReportData) -> list[str]:
    """Dotted paths of searched numbers with more than one value; learning rate and weight decay first."""
    values: dict[str, set[float]] = {}
    for trial in data.trials:
        for path, value in trial.values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                values.setdefault(path, set()).add(value)
    varied = [path for path, found in values.items() if len(found) > 1]
    return [*(path for path in FIRST if path in varied), *sorted(set(varied) - set(FIRST))]


def _lost(trials: Sequence[Trial]) -> str:
    rates = [f"{rate:.1e}" for trial in trials if isinstance(rate := trial.values.get(FIRST[0]), float)]
    at = f", at learning rates {listed(sorted(rates, key=float))}" if rates else ""
    return f"{counted(len(trials), 'trial')} failed or was infeasible{at}."


def _plot(data: ReportData, dataset: str, path: str, trials: Sequence[Trial]) -> Plot:
    traces: list[Trace] = []
    for model in data.models:
        points = [trial for trial in trials if trial.cell.model == model and path in trial.values]
        if points:
            traces.append(_trace(model, data.models, path, points))
    name = WORDS.get(path, path)
    x = log_axis(name) if _spans(_values(trials, path)) else axis(name)
    title = f"{dataset}: {name}"
    return Plot(f"response-{dataset}-{path}", title, traces, layout(x, axis(metric_words(data.metric)), legend=False))


def _values(trials: Iterable[Trial], path: str) -> list[float]:
    return [float(value) for trial in trials if isinstance(value := trial.values.get(path), int | float)]


def _spans(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) / min(values) >= LOG_FROM


def _trace(model: str, models: Sequence[str], path: str, trials: Sequence[Trial]) -> Trace:
    color, symbol, _ = style_of(model, models)
    symbols = [symbol if trial.status == "finished" else f"{symbol}-open" for trial in trials]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": literal(model),
        "x": rounded(_values(trials, path)),
        "y": rounded([trial.best for trial in trials]),
        "text": [f"#{trial.id} {trial.status}" for trial in trials],
        "hovertemplate": "%{text}: %{y:.4f} at %{x}<extra>%{fullData.name}</extra>",
        "marker": {"color": color, "symbol": symbols, "size": 8, "line": {"width": 1.5, "color": color}},
    }
