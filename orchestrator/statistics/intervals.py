"""Intervals of a score from both sources of noise: the images it was measured on, and the seeds it was trained with.

A row of the leaderboard is one configuration, trained with S seeds and scored on the same N images each time. Its value
is the mean over the seeds; the interval says where it would lie for other seeds and other images of the same kind.

Images: the variance of that mean in a bootstrap that draws the same images for all seeds, in blocks where frames
resemble each other. Seeds: the sample variance of the S scores, over S. Their half-widths are added in squares, each
with Student's t for its own degrees of freedom (Howe 1974): for three seeds 4.3 standard errors instead of 2. Simulated
(tests/simulated_rows.py), that covers 95 to 97 %. Satterthwaite's degrees of freedom cover 92 to 93 %, and a
percentile bootstrap over three seeds less than 75 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from segsweep.orchestrator.statistics.counts import Counts, Floats, Score, score

RESAMPLES = 2000
LEVEL = 0.95


class Part(NamedTuple):
    """One source of noise in an estimate."""

    variance: float
    df: float  # degrees of freedom in the estimate of that variance

    def half_width(self, level: float) -> float:
        return float(t.ppf((1 + level) / 2, self.df)) * math.sqrt(self.variance)


class Interval(NamedTuple):
    value: float
    low: float
    high: float


def resampled(block: npt.NDArray[np.intp], resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """(B, N) how often each image is drawn where whole blocks are, with replacement; block: (N,), see counts.blocks."""
    count = int(block.max()) + 1
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    offset = np.arange(resamples)[:, None] * count
    times = np.bincount((drawn + offset).ravel(), minlength=resamples * count).reshape(resamples, count)
    return times[:, block].astype(np.float64)


def values(seeds: Sequence[Counts], of: Score) -> Floats:
    """(S,) the score of each seed on all images."""
    return np.array([float(score(one.hits.sum(0), one.unions.sum(0), of)) for one in seeds])


def resampled_mean(seeds: Sequence[Counts], weights: Floats, of: Score) -> Floats:
    """(B,) the mean over the seeds on each resample; weights: (B, N), see `resampled`."""
    each = [score(weights @ one.hits, weights @ one.unions, of) for one in seeds]
    return np.asarray(np.mean(each, axis=0))


def of_images(resampled: Floats, blocks: int) -> Part:
    """resampled: (B,) the estimate on each resample; blocks: how many there were to draw from."""
    unbiased = blocks / max(blocks - 1, 1)  # resamples vary less than samples, by so much
    return Part(float(np.nanvar(resampled)) * unbiased, max(blocks - 1, 1))


def of_seeds(values: Floats) -> Part | None:
    """values: (S,); None for a single one, which says nothing of others."""
    return Part(float(values.var(ddof=1)) / len(values), len(values) - 1) if len(values) > 1 else None


def half_width(parts: Sequence[Part], level: float = LEVEL) -> float:
    return math.hypot(*(part.half_width(level) for part in parts))


def interval(seeds: Sequence[Counts], block: npt.NDArray[np.intp], of: Score, level: float = LEVEL) -> Interval:
    """seeds: one Counts for each, of the same images; block: (N,). Of a single seed, it speaks of images alone."""
    each = values(seeds, of)
    images = of_images(resampled_mean(seeds, resampled(block), of), int(block.max()) + 1)
    wide = half_width([part for part in (images, of_seeds(each)) if part], level)
    value = float(each.mean())
    return Interval(value, max(value - wide, 0.0), min(value + wide, 1.0))
