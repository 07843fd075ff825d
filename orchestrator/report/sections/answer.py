"""Who won where, by how much, and how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from segsweep.orchestrator.board.confirmed import Confirmed
from segsweep.orchestrator.durations import duration
from segsweep.orchestrator.report.contents import Section, Text
from segsweep.orchestrator.report.data import ReportData
from segsweep.orchestrator.report.words import difference, listed, metric_words, number
from segsweep.trainables.plurals import counted

PHASES = {
    "running": "The sweep is still running, so all of this may change.",
    "killed": "The sweep was cut off and can go on; what is here is what it had until then.",
    "interrupted": "The sweep was interrupted and can go on; what is here is what it had until then.",
    "crashed": "The sweep crashed and can go on; what is here is what it had until then.",
    "budget": "The sweep ended because its budget was used up.",
}


def section(data: ReportData) -> Section:
    blocks = [Text(text, "lead") for dataset in data.datasets for text in _answer(data, dataset)]
    if data.phase in PHASES:
        blocks.append(Text(PHASES[data.phase], "warning"))
    blocks += [Text(f"{warning}.", "warning") for warning in _warnings(data)]
    blocks.append(Text(_what_it_took(data), "note"))
    return Section("answer", "The answer", blocks)


def _answer(data: ReportData, dataset: str) -> Iterator[str]:
    confirmed = [row for row in data.board.confirmed.rows if row.dataset == dataset]
    if confirmed:
        yield _confirmed(data, confirmed)
        yield from _chosen_otherwise(data, confirmed[0])
    else:
        yield _searched(data, dataset)


def _confirmed(data: ReportData, rows: list[Confirmed]) -> str:
    first, seeds = rows[0], f"mean of {rows[0].seeds} fresh seeds"
    interval = f", 95 % interval {first.low:.4f} to {first.high:.4f}" if first.low is not None else ""
    value = f"{metric_words(first.metric)} {number(first.value)} ({seeds}{interval})"
    said = f"On {first.dataset}, {first.model} reaches {value}"
    if len(rows) == 1:
        return f"{said}. No other model was confirmed there, so nothing says how sure its place is."
    second = rows[1]
    ahead = _ahead(first.value - second.value, first.metric)
    return f"{said}, {ahead} {second.model}. {_how_sure(data, rows)}"


def _chosen_otherwise(data: ReportData, first: Confirmed) -> Iterator[str]:
    """Where the first on test images is not the first on validation images."""
    for won in data.standings(first.dataset)[:1]:
        if won.seeds and won.trial.cell.model != first.model:
            yield (
                f"The parts below, `best` and `predict` take {won.trial.cell.model} there, whose mean over fresh seeds "
                f"is best by {metric_words(data.metric)}, {number(won.value)}: the test split takes no part in that."
            )


def _ahead(size: float, metric: str) -> str:
    return f"{difference(size, metric)} ahead of" if size else "level with"


def _how_sure(data: ReportData, rows: list[Confirmed]) -> str:
    first = rows[0]
    if first.ranks is None:
        return "Whether the models really differ is not known, since it could not be tested."
    others = {row.model for row in rows[1:]}
    tied = [
        tie.other for tie in data.board.confirmed.ties if tie.dataset == first.dataset and tie.better == first.model
    ]
    if not tied:
        return "It is better than every other confirmed model, by paired tests on the same images (at most 5 % risk)."
    rest = "" if len(tied) == len(others) else "; it is better than the others"
    return f"But that is no sure win: by paired tests it cannot be told apart from {listed(tied)}{rest}."


def _searched(data: ReportData, dataset: str) -> str:
    winners = data.winners(dataset)
    if not winners:
        counts = Counter(trial.status for trial in data.searched(dataset))
        why = listed([f"{count} {status}" for status, count in counts.items()])
        return f"On {dataset}, no trial has finished yet ({why}), so there is no answer."
    first = winners[0]
    lowest = "lowest" if data.mode == "min" else "highest"
    said = f"On {dataset}, {first.cell.model} has the {lowest} {metric_words(data.metric)}, {number(first.best)}"
    if len(winners) > 1 and first.best is not None and winners[1].best is not None:
        said += f", {_ahead(first.best - winners[1].best, data.metric)} {winners[1].cell.model}"
    of = counted(len(data.searched(dataset)), "trial")
    return (
        f"{said}. This is not confirmed: the best of {of} looks better than it is, and other seeds may turn the order "
        f"round; `segsweep confirm {data.sweep}` would tell."
    )


def _warnings(data: ReportData) -> Iterator[str]:
    yield from data.board.warnings
    yield from data.board.confirmed.warnings


def _what_it_took(data: ReportData) -> str:
    searched = [trial for trial in data.trials if not trial.confirms]
    counts = Counter(trial.status for trial in searched)
    statuses = listed([f"{count} {status}" for status, count in counts.most_common()])
    repeats = len(data.trials) - len(searched)
    more = f", and {counted(repeats, 'confirmation')}" if repeats else ""
    where = f"{counted(len(data.models), 'model')} on {counted(len(data.datasets), 'dataset')}"
    return (
        f"{where}, {counted(len(searched), 'trial')} ({statuses}){more}, in {duration(data.wall_s)}. Made {data.made}."
    )
