"""Trials to a leaderboard: a line for every model, a cell for every dataset, the best finished trial in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, groupby
from statistics import fmean, median

from segsweep.orchestrator.board.confirmed import Confirmations
from segsweep.orchestrator.board.external import ExternalRow
from segsweep.orchestrator.board.score import Score
from segsweep.orchestrator.tracking.reader import TrialRow
from segsweep.trainables.metric_names import Mode, metric_named

SORTS = ("value", "rank", "model", "params", "cost")


@dataclass(frozen=True)
class Line:
    model: str
    architecture: str
    encoder: str
    licence: str  # of the weights that training began with; "" without any
    scores: Mapping[str, Score]  # by dataset; a dataset without a trial is missing

    def sizes(self, name: str) -> list[float]:
        """On each dataset where it is known: classes and image sizes differ between them. name: a key of SIZES."""
        return [size for score in self.scores.values() if (size := score.size(name)) is not None]

    @property
    def params_m(self) -> float | None:
        """Mean over the datasets; see `sizes`."""
        return fmean(sizes) if (sizes := self.sizes("params_m")) else None

    @property
    def gpu_s(self) -> float:
        return sum(score.gpu_s for score in self.scores.values())

    @property
    def cpu_s(self) -> float:
        return sum(score.cpu_s for score in self.scores.values())

    def mean(self, datasets: Sequence[str]) -> float | None:
        """Over all `datasets`; None unless each has a value: means over different datasets do not compare."""
        return self._mean(datasets, lambda score: score.value)

    def mean_rank(self, datasets: Sequence[str]) -> float | None:
        """Likewise."""
        return self._mean(datasets, lambda score: score.rank)

    def _mean(self, datasets: Sequence[str], of: Callable[[Score], float | None]) -> float | None:
        values = [value for name in datasets if (score := self.scores.get(name)) and (value := of(score)) is not None]
        return sum(values) / len(values) if datasets and len(values) == len(datasets) else None


@dataclass(frozen=True)
class Board:
    metric: str
    mode: Mode
    datasets: tuple[str, ...]
    lines: tuple[Line, ...]
    warnings: tuple[str, ...] = ()  # why numbers in it may not compare, or are missing
    confirmed: Confirmations = field(default_factory=Confirmations)
    external: tuple[ExternalRow, ...] = ()
    columns: tuple[str, ...] = ()  # beside models and datasets; none: those that fit the number of datasets
    read_s: float = 0.0  # when the store was asked; since 1970


def apart(rows: Iterable[TrialRow]) -> Mapping[tuple[str, str], str]:
    """Names for datasets that were scored in several ways, by dataset and evaluation: a column of the board for each.

    Values that were scored in different ways never compare, so they share no column, rank or test.
    """
    ways: dict[str, set[str]] = {}
    for row in rows:
        if row.evaluation:
            ways.setdefault(row.dataset, set()).add(row.evaluation)
    return {(dataset, way): f"{dataset} ({way})" for dataset, found in ways.items() if len(found) > 1 for way in found}


def named_apart(rows: Iterable[TrialRow], names: Mapping[tuple[str, str], str]) -> list[TrialRow]:
    """names: see `apart`."""
    if not names:
        return list(rows)
    return [replace(row, dataset=names.get((row.dataset, row.evaluation), row.dataset)) for row in rows]


def make_board(rows: Iterable[TrialRow], metric: str, sort: str = "value", repeats: Iterable[TrialRow] = ()) -> Board:
    """sort: value (mean over the datasets), rank (likewise), model, params, cost, or the name of a dataset."""
    rows = list(rows)
    cells, again = _by_cell(rows), _by_cell(repeats)
    mode, datasets = metric_named(metric).better, tuple(sorted({dataset for _, dataset in cells}))
    scores = {cell: _score(trials, again.get(cell, []), mode) for cell, trials in cells.items()}
    ranks = {dataset: _ranks([s for (_, d), s in scores.items() if d == dataset], mode) for dataset in datasets}
    lines = [
        _line(model, {d: _ranked(scores[model, d], ranks[d]) for d in datasets if (model, d) in scores}, cells)
        for model in sorted({model for model, _ in cells})
    ]
    ordered = sorted(lines, key=_sort_key(sort, datasets, mode))
    return Board(
        metric,
        mode,
        datasets,
        tuple(ordered),
        (*_warnings(rows, datasets), *_namesakes(cells), *_undertuned(scores), *_infeasible(cells)),
    )


def _by_cell(rows: Iterable[TrialRow]) -> dict[tuple[str, str], list[TrialRow]]:
    cells: dict[tuple[str, str], list[TrialRow]] = {}
    for row in rows:
        cells.setdefault((row.model, row.dataset), []).append(row)
    return cells


def _warnings(rows: Sequence[TrialRow], datasets: Sequence[str]) -> Iterator[str]:
    """Why the values of a column may not compare."""
    for dataset in datasets:
        here = [row for row in rows if row.dataset == dataset]
        yield from different_data(here, dataset)
        yield from _unlike(here, lambda row: row.epochs, f"'{dataset}' was trained on for different times")
    yield from _uneven(rows)


def different_data(rows: Iterable[TrialRow], dataset: str) -> Iterator[str]:
    """One warning if trials on a dataset did not train on the same files."""
    return _unlike(rows, lambda row: row.data_fingerprint, f"'{dataset}' names different data")


def _unlike(rows: Iterable[TrialRow], what: Callable[[TrialRow], str], says: str) -> Iterator[str]:
    """One warning if trials of a column differ in `what`, naming their sweeps; "" is a trial that never got so far."""
    sweeps: dict[str, set[str]] = {}
    for row in rows:
        if known := what(row):
            sweeps.setdefault(known, set()).add(row.sweep)
    if len(sweeps) > 1:
        seen = "; ".join(f"{known} in {', '.join(sorted(names))}" for known, names in sorted(sweeps.items()))
        yield f"{says} ({seen}): values in its column do not compare; name one SWEEP"


def _uneven(rows: Sequence[TrialRow]) -> Iterator[str]:
    """The trials of a model say how good it was, not only how it was tried."""
    if sweeps := sorted({row.sweep for row in rows if row.allocation == "adaptive"}):
        yield (
            f"{', '.join(sweeps)} allotted its trials adaptively: models that were better early got more (see trials), "
            "so the others may have more in them than they show"
        )


def _namesakes(cells: Mapping[tuple[str, str], list[TrialRow]]) -> Iterator[str]:
    """One warning for every cell in which two sweeps have no size in common: a name does not tell all of a network.

    Within a sweep a domain in the architecture may change its size; sweeps of one such domain share some.
    """
    for (model, dataset), trials in sorted(cells.items()):
        sizes: dict[str, set[float]] = {}
        for trial in trials:
            if trial.params_m is not None:
                sizes.setdefault(trial.sweep, set()).add(trial.params_m)
        if any(a.isdisjoint(b) for a, b in combinations(sizes.values(), 2)):
            seen = "; ".join(f"{span(found, '{:.6g}M')} in {sweep}" for sweep, found in sorted(sizes.items()))
            yield f"{model} on {dataset}: different networks share its row (params {seen}); name one SWEEP"


def span(sizes: Collection[float], form: str) -> str:
    """ "0.5M", or "0.5M to 0.6M" where they differ as they are written; "" of none."""
    return " to ".join(dict.fromkeys(form.format(end(sizes)) for end in (min, max) if sizes))


def _undertuned(scores: Mapping[tuple[str, str], Score]) -> Iterator[str]:
    """One warning for every cell with less than half as many trials as its dataset's cells have at the median."""
    for (model, dataset), score in sorted(scores.items()):
        usual = median(other.trials for (_, where), other in scores.items() if where == dataset)
        if score.trials < usual / 2:
            rivals = f"{score.trials} trials, they {usual:g} at the median"
            yield f"{model} on {dataset}: tuned less than its rivals ({rivals})"


def _infeasible(cells: Mapping[tuple[str, str], list[TrialRow]]) -> Iterator[str]:
    """One warning for every cell whose trials all broke a constraint."""
    for (model, dataset), trials in sorted(cells.items()):
        if all(trial.status == "infeasible" for trial in trials):
            count = f"all {len(trials)} trials are" if len(trials) > 1 else "its trial is"
            yield f"{model} on {dataset}: {count} infeasible (last: {trials[0].stop_reason})"


def _score(trials: list[TrialRow], repeats: list[TrialRow], mode: Mode) -> Score:
    finished = [trial for trial in trials if trial.status == "finished"]
    valued = [trial for trial in finished if trial.value is not None]
    pick = max if mode == "max" else min
    return Score(
        best=pick(valued, key=lambda trial: trial.value or 0.0) if valued else None,
        rows=tuple(trials),
        repeats=tuple(repeats),
        trials=len(trials),
        finished=len(finished),
        stopped=sum(trial.status == "stopped" for trial in trials),
        failed=sum(trial.status == "failed" for trial in trials),
        infeasible=sum(trial.status == "infeasible" for trial in trials),
        gpu_s=sum(trial.gpu_s for trial in trials),
        cpu_s=sum(trial.cpu_s for trial in trials),
    )


def _ranks(scores: Iterable[Score], mode: Mode) -> Mapping[float, int]:
    """To each value of a dataset its rank: one more than the number of better ones."""
    values = sorted((score.value for score in scores if score.value is not None), reverse=mode == "max")
    return {value: values.index(value) + 1 for value in values}


def _ranked(score: Score, ranks: Mapping[float, int]) -> Score:
    rank = None if score.value is None else ranks[score.value]
    return replace(score, rank=rank, leads=rank == 1)


def led_by_fresh_seeds(board: Board) -> Board:
    """The same, led on each dataset that was confirmed by whom `choice` takes."""
    best = max if board.mode == "max" else min
    leaders = {
        dataset: best(group, key=lambda row: row.fresh).model
        for dataset, group in groupby(board.confirmed.rows, key=lambda row: row.dataset)
    }

    def led(line: Line, dataset: str, score: Score) -> Score:
        return replace(score, leads=leaders[dataset] == line.model) if dataset in leaders else score

    lines = [replace(line, scores={d: led(line, d, score) for d, score in line.scores.items()}) for line in board.lines]
    return replace(board, lines=tuple(lines))


def _line(model: str, scores: Mapping[str, Score], cells: Mapping[tuple[str, str], list[TrialRow]]) -> Line:
    """What describes the model comes from its best trials."""
    bests = [score.best for score in scores.values() if score.best]
    rows = bests + [row for dataset in scores for row in cells[model, dataset]]
    return Line(
        model=model,
        architecture=rows[0].architecture,
        encoder=rows[0].encoder,
        licence=next((row.licence for row in rows if row.licence), ""),
        scores=scores,
    )


def _sort_key(sort: str, datasets: Sequence[str], mode: Mode) -> Callable[[Line], tuple[float, float, str]]:
    """Best first, cheapest first, smallest first; lines that lack the number come last."""
    sign = -1.0 if mode == "max" else 1.0

    def number(line: Line) -> tuple[float, float]:
        if sort == "model":
            return 0.0, 0.0
        if sort == "params":
            return 0.0, math.inf if line.params_m is None else line.params_m
        if sort == "cost":
            return 0.0, line.gpu_s or line.cpu_s
        if sort == "rank":
            mean = line.mean_rank(datasets)
            return (1.0, 0.0) if mean is None else (0.0, mean)
        wanted = [sort] if sort in datasets else datasets
        values = [s.value for name in wanted if (s := line.scores.get(name)) and s.value is not None]
        return float(len(wanted) - len(values)), sign * sum(values) / len(values) if values else math.inf

    return lambda line: (*number(line), line.model)
