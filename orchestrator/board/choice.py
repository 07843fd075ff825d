"""Which run stands for a sweep, for all commands that take one: best, reproduce, predict, export and compare.

Where trials were confirmed: of the configurations with at least two fresh seeds the one with the best mean of the
metric, and of its seeds the best run. Elsewhere the best finished trial of the search. The metric is one of validation:
the test split is for telling how good the choice is, so it takes no part in it. Of several sweeps those that were
confirmed on the dataset go first: the best of many trials by one seed was lucky, and looks better than their means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import fmean
from typing import Generic, NamedTuple, Protocol, TypeVar

from segsweep.orchestrator.board.names import expect_known
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.trainables.metric_names import metric_named


class Candidate(Protocol):
    @property
    def sweep(self) -> str: ...
    @property
    def sweep_uid(self) -> str: ...
    @property
    def trial_id(self) -> str: ...
    @property
    def dataset(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def value(self) -> float | None: ...
    @property
    def confirms(self) -> str: ...


C = TypeVar("C", bound=Candidate)


class Choice(NamedTuple, Generic[C]):
    run: C
    why: str


def choose(trials: Sequence[C], metric: str, *, dataset: str | None = None, model: str | None = None) -> Choice[C]:
    """The run that stands for trials, see above. Raises InputError.

    trials: of the search and of confirmation; of several sweeps too.
    dataset: need not be given where there is only one; values on two do not compare.
    """
    better = _better(metric)
    searched = [trial for trial in trials if not trial.confirms]
    best, sweeps = _best_searched(searched, metric, dataset, model), {trial.sweep_uid for trial in searched}
    peers = [trial for trial in trials if trial.sweep_uid in sweeps and trial.dataset == best.dataset]
    repeated = list(by_configuration(peer for peer in peers if model in (None, peer.model)))
    if not repeated:
        return Choice(best, f"best {metric} of the search, {best.value:.4f}; one seed, confirmed by no other")
    seeds = max(repeated, key=lambda seeds: better(mean(seeds)))
    means = f"mean {metric} {mean(seeds):.4f} over {len(seeds)} fresh seeds"
    of = "" if len(repeated) == 1 else f", best of {len(repeated)} confirmed"
    run = max(seeds, key=lambda seed: better(seed.value or 0.0))
    why = f"confirms trial {run.confirms} ({means}{of}); of these seeds the best, {run.value:.4f}"
    sure = {(found[0].sweep_uid, found[0].confirms) for found in repeated}
    if (best.sweep_uid, best.trial_id) not in sure and better(best.value or 0.0) > better(mean(seeds)):
        why += f"; trial {best.trial_id} of {best.sweep} looks better, {best.value:.4f}, by one seed and unconfirmed"
    return Choice(run, why)


def by_configuration(repeats: Iterable[C]) -> Iterator[list[C]]:
    """The seeds of each configuration that has at least two finished ones."""
    found: dict[tuple[str, str], list[C]] = {}
    for row in repeats:
        if row.confirms and row.status == "finished" and row.value is not None:
            found.setdefault((row.sweep_uid, row.confirms), []).append(row)
    for seeds in found.values():
        if len(seeds) > 1:
            yield sorted(seeds, key=lambda row: row.trial_id)


def mean(seeds: Iterable[Candidate]) -> float:
    return fmean(row.value or 0.0 for row in seeds)


def _better(metric: str) -> Callable[[float], float]:
    sign = 1.0 if metric_named(metric).better == "max" else -1.0
    return lambda value: sign * value


def _best_searched(trials: Sequence[C], metric: str, dataset: str | None, model: str | None) -> C:
    datasets = sorted({trial.dataset for trial in trials})
    expect_known("--dataset", dataset, datasets)
    if dataset is None and len(datasets) > 1:
        raise InputError(Mistake("--dataset", f"has to name one of several: {', '.join(datasets)}"))
    trials = [trial for trial in trials if dataset in (None, trial.dataset)]
    expect_known("--model", model, {trial.model for trial in trials})
    trials = [trial for trial in trials if model in (None, trial.model)]
    ranked = [trial for trial in trials if trial.status == "finished" and trial.value is not None]
    if not ranked:
        counts = ", ".join(f"{count} {status}" for status, count in Counter(trial.status for trial in trials).items())
        place = " ".join([f"--dataset {dataset or ', '.join(datasets)}", *([f"--model {model}"] if model else [])])
        raise InputError(Mistake(place, f"no trial has finished there with a {metric} yet ({counts or 'none began'})"))
    better = _better(metric)
    return max(ranked, key=lambda trial: better(trial.value or 0.0))
