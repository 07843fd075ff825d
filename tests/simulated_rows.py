"""Rows of a leaderboard whose true score is known: images with rare classes, and seeds that differ everywhere."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from segsweep.orchestrator.statistics.comparisons import differences
from segsweep.orchestrator.statistics.counts import Counts, Floats, score
from segsweep.orchestrator.statistics.intervals import interval

CLASSES, POPULATION = 11, 2000


@dataclass
class World:
    """A population of images. In logits of a class's recall: how seeds differ, and how they differ on single images."""

    seed_sd: float = 0.15
    image_sd: float = 0.8
    disagreement_sd: float = 0.3
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def __post_init__(self) -> None:
        presence, log_size = np.linspace(1, 0.15, CLASSES), np.linspace(9, 5, CLASSES)  # rare classes are small ones
        shown = self.rng.random((POPULATION, CLASSES)) < presence
        self.truth: Floats = shown * np.exp(self.rng.normal(0, 1, (POPULATION, CLASSES)) + log_size)
        self.ease: Floats = np.linspace(3, 0, CLASSES) + self._normal(self.image_sd, 1) + self._normal(self.image_sd)

    def _normal(self, sd: float, classes: int = CLASSES) -> Floats:
        return self.rng.normal(0, sd, (POPULATION, classes))

    def trained(self, images: np.ndarray) -> Counts:
        """One more seed, scored on `images`; what it misses is taken for other classes of the image."""
        seed = self.rng.normal(0, self.seed_sd, CLASSES) + self.rng.normal(0, self.seed_sd)
        single = self.rng.normal(0, self.disagreement_sd, (len(images), CLASSES))
        truth = self.truth[images]
        hits = truth / (1 + np.exp(-(self.ease[images] + seed + single)))
        share = truth / np.maximum(truth.sum(1, keepdims=True), 1)
        return Counts(hits, truth + (truth - hits).sum(1, keepdims=True) * share)

    def true_miou(self, seeds: int = 1500) -> float:
        whole = (self.trained(np.arange(POPULATION)) for _ in range(seeds))
        return float(np.mean([score(one.hits.sum(0), one.unions.sum(0), "miou") for one in whole]))

    def draw(self, images: int) -> np.ndarray:
        return self.rng.integers(0, POPULATION, images)


def coverage(world: World, images: int, seeds: int, runs: int) -> float:
    """Share of intervals that hold the true mIoU."""
    true, held = world.true_miou(), 0
    for _ in range(runs):
        chosen = world.draw(images)
        found = interval([world.trained(chosen) for _ in range(seeds)], np.arange(images), "miou")
        held += found.low <= true <= found.high
    return held / runs


def false_alarms(world: World, rows: int, images: int, seeds: int, runs: int) -> float:
    """Share of leaderboards of equal rows that call any better than another."""
    alarms = 0
    for _ in range(runs):
        chosen = world.draw(images)
        board = {str(row): [world.trained(chosen) for _ in range(seeds)] for row in range(rows)}
        alarms += any(one.real for one in differences(board, np.arange(images), "miou").values())
    return alarms / runs
