"""Which rows are better than which, tested on the same images; and what it would take to tell the others apart.

Two rows differ by the difference of their means over seeds. Its noise is that of the images, which both rows share and
which mostly cancels (one bootstrap, the same resamples for both), and that of either's seeds (Welch 1947). All pairs of
rows are tested, so p-values are corrected as in Holm 1979: in 95 of 100 leaderboards no row at all is called better
that is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from segsweep.orchestrator.statistics.counts import Counts, Score
from segsweep.orchestrator.statistics.intervals import (
    LEVEL,
    Part,
    half_width,
    of_images,
    of_seeds,
    resampled,
    resampled_mean,
    values,
)

MOST_SEEDS = 50  # nobody trains more; beyond, only images help
SMALLEST_P = 1e-9


class Difference(NamedTuple):
    """Of two rows on the same images: value of the first minus value of the second."""

    value: float
    images: Part
    seeds: Part | None  # None if a row has a single seed: then nothing can be said
    each_seeds: int  # the fewer of either row
    p: float = 1.0  # two-sided, of no difference; corrected for all pairs by `differences`

    @property
    def real(self) -> bool:
        return self.p < 1 - LEVEL


class Needed(NamedTuple):
    """What would tell two rows apart, if their difference stays what it is. None: not by this alone."""

    seeds: int | None  # each
    images: int | None


def differences(
    rows: Mapping[str, Sequence[Counts]], block: npt.NDArray[np.intp], of: Score
) -> Mapping[tuple[str, str], Difference]:
    """All pairs, in the order of `rows`: to each the counts of its seeds, of the same N images; block: (N,)."""
    weights, count = resampled(block), int(block.max()) + 1
    means = {name: resampled_mean(seeds, weights, of) for name, seeds in rows.items()}
    each = {name: values(seeds, of) for name, seeds in rows.items()}
    found = {}
    for a, b in combinations(rows, 2):
        images = of_images(means[a] - means[b], count)
        seeds = _welch(of_seeds(each[a]), of_seeds(each[b]))
        value = float(each[a].mean() - each[b].mean())
        found[a, b] = Difference(value, images, seeds, min(len(each[a]), len(each[b])), _p_value(value, images, seeds))
    corrected = holm([one.p for one in found.values()])
    return {pair: one._replace(p=p) for (pair, one), p in zip(found.items(), corrected, strict=True)}


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected p-values, in the given order. Source: Holm 1979."""
    corrected, highest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def ranks(rows: Sequence[str], pairs: Mapping[tuple[str, str], Difference], sign: float = 1.0) -> dict[str, range]:
    """To each row the ranks it may have: range(1, 4) is tied for places 1 to 3; sign: -1 where less is better."""
    better = dict.fromkeys(rows, 0)  # how many rows are better than this one
    worse = dict(better)
    for (a, b), one in pairs.items():
        if one.real:
            first, second = (a, b) if sign * one.value > 0 else (b, a)
            better[second] += 1
            worse[first] += 1
    return {name: range(1 + better[name], len(rows) - worse[name] + 1) for name in rows}


def needed(one: Difference, images: int, pairs: int = 1) -> Needed:
    """To tell two tied rows apart; images: how many they were scored on; pairs: how many are tested, see `holm`."""
    level, size = 1 - (1 - LEVEL) / pairs, abs(one.value)
    if one.seeds is None or size == 0:
        return Needed(None, None)
    of_one = Part(one.seeds.variance * one.each_seeds, one.seeds.df)  # as if each row had a single seed

    def tells(seeds: int) -> bool:
        noise = Part(of_one.variance / seeds, max(2 * (seeds - 1), 1))
        return half_width((one.images, noise), level) < size

    enough = next((seeds for seeds in range(one.each_seeds + 1, MOST_SEEDS + 1) if tells(seeds)), None)
    left = size**2 - one.seeds.half_width(level) ** 2
    more = math.ceil(images * one.images.half_width(level) ** 2 / left) if left > 0 else None
    return Needed(enough, more)


def _welch(a: Part | None, b: Part | None) -> Part | None:
    """Of a difference of two means; degrees of freedom of Welch 1947."""
    if a is None or b is None:
        return None
    variance = a.variance + b.variance
    below = a.variance**2 / a.df + b.variance**2 / b.df
    return Part(variance, variance**2 / below if below else a.df + b.df)


def _p_value(value: float, images: Part, seeds: Part | None) -> float:
    """The level at which the interval of the difference would just reach 0."""
    if seeds is None or value == 0:
        return 1.0
    parts = (images, seeds)

    def beyond(p: float) -> float:
        return half_width(parts, 1 - p) - abs(value)

    if beyond(SMALLEST_P) < 0:
        return SMALLEST_P
    return float(brentq(beyond, SMALLEST_P, 1.0))
