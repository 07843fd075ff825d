"""How the trials learned, where they were compared and stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from segsweep.orchestrator.report.contents import Plot, Section, Text
from segsweep.orchestrator.report.data import Outcome, Trial
from segsweep.orchestrator.report.figures import NEUTRAL, Axis, Trace, axis, layout, literal, rounded, style_of
from segsweep.orchestrator.report.words import metric_words
from segsweep.trainables.plurals import counted

FAINT = 0.5  # of trials that were stopped or failed
TICKS = 12  # at most, of epochs


def section(data: Outcome) -> Section:
    note = (
        "Every trial of the search. Full lines finished; faint ones were stopped early (crosses: at a rung, where only "
        "the best of a model's trials go on) or have not finished. Dotted lines are the rungs at which trials were "
        "stopped. A name in the legend hides and shows its model."
    )
    plots = [_plot(data, dataset) for dataset in data.datasets]
    return Section("curves", "Learning curves", [Text(note, "note"), *plots])


def _plot(data: Outcome, dataset: str) -> Plot:
    trials = data.searched(dataset)
    traces: list[Trace] = []
    for model in data.models:
        of_model = [trial for trial in trials if trial.cell.model == model and trial.curve]
        finished = [trial for trial in of_model if trial.status == "finished"]
        others = [trial for trial in of_model if trial.status != "finished"]
        traces += _traces(model, data.models, finished, others)
    rungs = _rungs(trials)
    longest = max([1, *(len(trial.curve) for trial in trials)])
    x, y = _epochs(longest), axis(metric_words(data.metric))
    stopped = sum(trial.stop is not None for trial in trials)
    title = f"{dataset}: {counted(len(trials), 'trial')}, {stopped} stopped at a rung"
    return Plot(f"curves-{dataset}", title, traces, layout(x, y, height=460, shapes=[_line(rung) for rung in rungs]))


def _epochs(longest: int) -> Axis:
    """From epoch 1, with room for a mark at either end; ticks at whole epochs, few enough for a phone."""
    step = next(size for size in _steps() if longest / size <= TICKS)
    room = max(0.02 * longest, 0.1)
    return axis("epoch", range=[1 - room, longest + room], tick0=step, dtick=step)


def _steps() -> Iterator[int]:
    """1, 2, 5, 10, 20, 50 ..."""
    return (digit * 10**power for power in count() for digit in (1, 2, 5))


def _rungs(trials: Sequence[Trial]) -> list[int]:
    """In epochs; rungs of iterations or seconds lie at another epoch for each trial."""
    return sorted({trial.stop.rung for trial in trials if trial.stop and trial.stop.unit == "epochs"})


def _line(rung: int) -> dict[str, object]:
    stroke = {"color": NEUTRAL, "width": 2, "dash": "dot"}
    return {"type": "line", "x0": rung, "x1": rung, "y0": 0, "y1": 1, "yref": "paper", "line": stroke}


def _traces(model: str, models: Sequence[str], finished: Sequence[Trial], others: Sequence[Trial]) -> Iterator[Trace]:
    """One trace for all curves of a kind, with gaps between them: a thousand traces would be slow to draw."""
    color, _, dash = style_of(model, models)
    shown = bool(finished)
    for trials, opacity in ((finished, 1.0), (others, FAINT)):
        if trials:
            look = {"line": {"color": color, "dash": dash, "width": 1.6}, "opacity": opacity}
            legend = {"name": literal(model), "legendgroup": literal(model), "showlegend": opacity == 1 or not shown}
            yield {"type": "scatter", "mode": "lines", **_points(trials), **look, **legend}
    if stopped := [trial for trial in others if trial.stop]:
        marker = {"symbol": "x-thin", "size": 8, "line": {"color": color, "width": 2}}
        yield _ends(model, stopped, marker)
    if points := [trial for trial in (*finished, *others) if len(trial.curve) == 1 and not trial.stop]:
        yield _ends(model, points, {"color": color, "size": 7})  # a line of one point is not drawn


def _ends(model: str, trials: Sequence[Trial], marker: Trace) -> Trace:
    """Marks at the last epochs."""
    ends = {
        "x": [len(trial.curve) for trial in trials],
        "y": rounded([trial.curve[-1] for trial in trials]),
        "text": [f"#{one.id} {f'stopped at rung {one.stop.rung}' if one.stop else one.status}" for one in trials],
    }
    hidden = {"name": literal(model), "legendgroup": literal(model), "showlegend": False}
    return {"type": "scatter", "mode": "markers", **ends, "marker": marker, **hidden}


def _points(trials: Sequence[Trial]) -> Trace:
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for trial in trials:
        x += [*range(1, len(trial.curve) + 1), None]
        y += [*trial.curve, None]
        text += [f"#{trial.id}"] * (len(trial.curve) + 1)
    mode = {"connectgaps": False, "hovertemplate": "%{text}, epoch %{x}: %{y:.4f}<extra>%{fullData.name}</extra>"}
    return {"x": x, "y": rounded(y), "text": text, **mode}
