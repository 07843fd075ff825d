"""What fresh seeds say of the winners: their scores with intervals, which of them are tied, and how lucky they were."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from segsweep.orchestrator.board.choice import by_configuration, mean
from segsweep.orchestrator.tracking.reader import TrialRow
from segsweep.trainables.metric_names import TEST, VAL, metric_named

if TYPE_CHECKING:  # numpy and scipy take a second to import, and most boards confirm nothing
    from segsweep.orchestrator.statistics.comparisons import Difference
    from segsweep.orchestrator.statistics.counts import Score
    from segsweep.orchestrator.statistics.intervals import Interval
    from segsweep.trainables.scoring.confusions import Confusions

OF_IMAGES: Mapping[str, Score] = {"val_miou": "miou", "val_dice": "dice"}  # metrics that single images can be asked for
Key: TypeAlias = tuple[str, str]  # a sweep's uid and a trial
Cells: TypeAlias = Mapping[str, list[TrialRow]]  # of one dataset: model -> the seeds of its configuration
LoadConfusions: TypeAlias = "Callable[[TrialRow, str], Confusions | None]"


@dataclass(frozen=True)
class Confirmed:
    """The configuration of one cell that was best over fresh seeds."""

    dataset: str
    model: str
    sweep: str
    trial: str
    metric: str  # test_miou, or val_miou where the dataset has no test split
    seeds: int
    value: float  # mean over the seeds
    low: float | None  # 95 % interval; None where the matrices of single images are missing
    high: float | None
    ranks: range | None  # the places that it may have on its dataset; range(1, 2) is first for sure
    searched: float  # what the search said of the trial, on val, by one seed
    fresh: float  # the same by the fresh seeds

    @property
    def summary(self) -> dict[str, str]:
        """In words, for who reads of this row alone."""
        interval = f", 95 % interval {self.low:.4f} to {self.high:.4f}" if self.low is not None else ""
        return {"confirmed": f"{self.metric} {self.value:.4f}, mean of {self.seeds} fresh seeds{interval}"}


@dataclass(frozen=True)
class Tie:
    """Two rows that share a place, and what would tell them apart if their difference stays what it is."""

    dataset: str
    better: str
    other: str
    difference: float
    half_width: float  # of its 95 % interval, seen alone
    seeds: int | None  # each, on these images
    images: int | None  # with these seeds


@dataclass(frozen=True)
class Confirmations:
    rows: tuple[Confirmed, ...] = ()  # by dataset, the best first
    ties: tuple[Tie, ...] = ()  # with the first of each dataset
    warnings: tuple[str, ...] = ()

    def as_json(self) -> str:
        rows = [{**asdict(row), "ranks": row.ranks and [row.ranks.start, row.ranks.stop]} for row in self.rows]
        return json.dumps({"rows": rows, "ties": [asdict(tie) for tie in self.ties], "warnings": self.warnings})

    @classmethod
    def from_json(cls, text: str) -> Confirmations:
        found = json.loads(text)
        rows = [{**row, "ranks": row["ranks"] and range(*row["ranks"])} for row in found["rows"]]
        ties = tuple(Tie(**tie) for tie in found["ties"])
        return cls(tuple(Confirmed(**row) for row in rows), ties, tuple(found["warnings"]))

    def of(self, dataset: str, model: str) -> Confirmed | None:
        return next((row for row in self.rows if (row.dataset, row.model) == (dataset, model)), None)

    @property
    def luck(self) -> float | None:
        """How much better the search values look than fresh seeds on the same split, on average; None without any."""
        if not self.rows:
            return None
        sign = 1.0 if metric_named(self.rows[0].metric).better == "max" else -1.0
        return fmean(sign * (row.searched - row.fresh) for row in self.rows)


class _Evidence(NamedTuple):
    """What the matrices of single images say of the rows of a dataset."""

    intervals: Mapping[str, Interval] = {}
    pairs: Mapping[tuple[str, str], Difference] = {}
    images: int = 0
    missing: str = ""  # why they say nothing


def confirmations(
    trials: Sequence[TrialRow], repeats: Sequence[TrialRow], metric: str, load: LoadConfusions
) -> Confirmations:
    """trials: that were searched; repeats: of kind confirm, both read with `metric`; load: of a repeat and a split."""
    better, values = metric_named(metric).better, {(t.sweep_uid, t.trial_id): t.value for t in trials}
    chosen: dict[tuple[str, str], list[TrialRow]] = {}
    for seeds in by_configuration(repeats):
        cell = seeds[0].dataset, seeds[0].model
        if (seeds[0].sweep_uid, seeds[0].confirms) not in values:
            continue
        if cell not in chosen or (mean(seeds) > mean(chosen[cell])) == (better == "max"):
            chosen[cell] = seeds
    found: list[Confirmations] = []
    for dataset in sorted({dataset for dataset, _ in chosen}):
        cells = {model: seeds for (where, model), seeds in chosen.items() if where == dataset}
        found.append(_of_dataset(cells, metric, values, load))
    return Confirmations(
        tuple(row for one in found for row in one.rows),
        tuple(tie for one in found for tie in one.ties),
        tuple(warning for one in found for warning in one.warnings),
    )


def _of_dataset(cells: Cells, metric: str, values: Mapping[Key, float | None], load: LoadConfusions) -> Confirmations:
    from segsweep.orchestrator.statistics.comparisons import ranks

    dataset = next(iter(cells.values()))[0].dataset
    split = "test" if all(row.test is not None for seeds in cells.values() for row in seeds) else "val"
    shown = metric if split == "val" else TEST + metric.removeprefix(VAL)
    sign = 1.0 if metric_named(metric).better == "max" else -1.0
    found = _evidence(cells, OF_IMAGES.get(metric), split, load)
    places = ranks(list(cells), found.pairs, sign) if found.intervals else {}

    def row(model: str, seeds: list[TrialRow]) -> Confirmed:
        interval_, trial = found.intervals.get(model), (seeds[0].sweep_uid, seeds[0].confirms)
        return Confirmed(
            dataset=dataset,
            model=model,
            sweep=seeds[0].sweep,
            trial=seeds[0].confirms,
            metric=shown,
            seeds=len(seeds),
            value=fmean((row.test if split == "test" else row.value) or 0.0 for row in seeds),
            low=interval_.low if interval_ else None,
            high=interval_.high if interval_ else None,
            ranks=places.get(model),
            searched=values[trial] or 0.0,
            fresh=mean(seeds),
        )

    rows = sorted((row(model, seeds) for model, seeds in cells.items()), key=lambda row: -sign * row.value)
    warnings = [f"{dataset}: no intervals of {shown}, and nobody knows which rows are tied: {found.missing}"]
    return Confirmations(tuple(rows), tuple(_ties(rows, found)), tuple(warnings if found.missing else []))


def _evidence(cells: Cells, of: Score | None, split: str, load: LoadConfusions) -> _Evidence:
    from segsweep.orchestrator.statistics.comparisons import differences
    from segsweep.orchestrator.statistics.counts import blocks, counted
    from segsweep.orchestrator.statistics.intervals import interval

    if of is None:
        return _Evidence(missing="they are computed for mIoU and Dice alone")
    matrices = {model: [load(row, split) for row in seeds] for model, seeds in cells.items()}
    loaded = {model: [one for one in each if one is not None] for model, each in matrices.items()}
    if any(len(loaded[model]) < len(seeds) for model, seeds in cells.items()):
        return _Evidence(missing="matrices of single images are missing")
    if len({one.ids for each in loaded.values() for one in each}) > 1:
        return _Evidence(missing="they were scored on different images")
    first = next(iter(loaded.values()))[0]
    block = blocks(first.groups, len(first.ids))
    counts = {model: [counted(one) for one in each] for model, each in loaded.items()}
    intervals = {model: interval(each, block, of) for model, each in counts.items()}
    return _Evidence(intervals, differences(counts, block, of), len(first.ids))


def _ties(rows: Sequence[Confirmed], found: _Evidence) -> Iterator[Tie]:
    """Those with the best row."""
    from segsweep.orchestrator.statistics.comparisons import needed
    from segsweep.orchestrator.statistics.intervals import half_width

    for pair, one in found.pairs.items():
        if rows[0].model in pair and not one.real:
            (other,) = {*pair} - {rows[0].model}
            wide = half_width([part for part in (one.images, one.seeds) if part])
            more = needed(one, found.images, len(found.pairs))
            yield Tie(rows[0].dataset, rows[0].model, other, abs(one.value), wide, more.seeds, more.images)
