"""IoU of every class: bars for the best model, marks for the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from segsweep.orchestrator.report.contents import Plot, Section, Text
from segsweep.orchestrator.report.data import ReportData, Trial, trials_shown
from segsweep.orchestrator.report.figures import ROW, Trace, axis, layout, literal, rounded, style_of
from segsweep.trainables.metric_names import class_iou
from segsweep.trainables.plurals import counted

MOST = 40  # classes that are drawn: those that the best model is worst at


def section(data: ReportData) -> Section:
    blocks: list[Plot | Text] = []
    for dataset in data.datasets:
        winners = data.winners(dataset)
        classes = _classes(winners[0]) if winners else []
        if not classes:
            why = "no trial has finished" if not winners else "its trials report no IoU of single classes"
            blocks.append(Text(f"{dataset}: {why}."))
            continue
        blocks.append(Text(trials_shown(data, dataset), "note"))
        if len(classes) > MOST:
            blocks.append(
                Text(f"{dataset}: the {MOST} of {counted(len(classes), 'class')} with the lowest IoU.", "note")
            )
        blocks.append(_plot(data, dataset, winners, classes[:MOST]))
    note = (
        "IoU (validation) of each class at the best epoch of the trial that is named: of a confirmed model the best of "
        "its fresh seeds, else the best of the search. The hardest for the best model, whose bars these are, are at "
        "the top. An absent class is neither in the truth nor in its prediction."
    )
    return Section("classes", "Classes", [Text(note, "note"), *blocks])


def _classes(trial: Trial) -> list[str]:
    """The lowest IoU first; those without one last."""
    prefix = class_iou("")
    found = {name.removeprefix(prefix): value for name, value in trial.at_best.items() if name.startswith(prefix)}
    return sorted(found, key=lambda name: (found[name] is None, found[name] or 0.0))


def _plot(data: ReportData, dataset: str, winners: Sequence[Trial], classes: Sequence[str]) -> Plot:
    names = [literal(name) + " (absent)" * (winners[0].at_best.get(class_iou(name)) is None) for name in classes]
    best, *others = (_trace(data, trial, _ious(trial, names, classes)) for trial in winners)
    traces = [_bars(best), *others]
    x, y = axis("IoU", range=[0, 1]), axis("", autorange="reversed", type="category", tickmode="linear")
    height = 130 + max(18, ROW - len(classes) // 4) * len(classes)
    return Plot(f"classes-{dataset}", f"{dataset}: IoU by class", traces, layout(x, y, height=height))


def _ious(trial: Trial, names: Sequence[str], classes: Sequence[str]) -> dict[str, float | None]:
    return {name: trial.at_best.get(class_iou(class_)) for name, class_ in zip(names, classes, strict=True)}


def _trace(data: ReportData, trial: Trial, values: Mapping[str, float | None]) -> Trace:
    color, symbol, _ = style_of(trial.cell.model, data.models)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": literal(trial.cell.model),
        "x": rounded(list(values.values())),
        "y": list(values),
        "marker": {"color": color, "symbol": symbol, "size": 9},
        "hovertemplate": "%{y}: %{x:.4f}<extra>%{fullData.name}</extra>",
    }


def _bars(trace: Trace) -> Trace:
    """The same as bars."""
    marker = {"color": trace["marker"]["color"], "opacity": 0.75}
    return {key: value for key, value in trace.items() if key != "mode"} | {
        "type": "bar",
        "orientation": "h",
        "marker": marker,
    }
