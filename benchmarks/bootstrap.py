"""What the intervals of a leaderboard cost: 10,000 resamples of 500 images with 19 classes, on one core.

    python benchmarks/bootstrap.py [--rows 10] [--seeds 3]

Seconds of CPU, numpy's threads off: once for one network, and for all rows with their intervals and paired tests, as
the leaderboard has them (it draws fewer resamples and keeps what it found).
"""

from __future__ import annotations

import argparse
import os
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from segsweep.orchestrator.statistics.comparisons import differences
from segsweep.orchestrator.statistics.counts import Counts, blocks
from segsweep.orchestrator.statistics.intervals import RESAMPLES, interval, resampled, resampled_mean

IMAGES, CLASSES, DRAWN = 500, 19, 10_000
BAR_S = 2.0


def a_network(generator: np.random.Generator) -> Counts:
    """Of each image the pixels of each class; every fifth is absent."""
    unions = generator.integers(1, 100_000, (IMAGES, CLASSES)) * (generator.random((IMAGES, CLASSES)) > 0.2)
    return Counts(np.floor(unions * generator.uniform(0.5, 0.9, unions.shape)), unions.astype(np.float64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    generator = np.random.default_rng(0)
    rows = {f"row {n}": [a_network(generator) for _ in range(given.seeds)] for n in range(given.rows)}
    block = blocks([""] * IMAGES, IMAGES)

    began = time.process_time()
    means = resampled_mean(rows["row 0"][:1], resampled(block, DRAWN), "miou")
    took = time.process_time() - began
    print(f"{DRAWN} resamples of {IMAGES} images x {CLASSES} classes: {took:.2f} s (bar {BAR_S} s)")
    print(f"s.d. of the mIoU: {means.std():.4f}")

    began = time.process_time()
    for seeds in rows.values():
        interval(seeds, block, "miou")
    differences(rows, block, "miou")
    told = f"{given.rows} rows of {given.seeds} seeds, intervals and all pairs, {RESAMPLES} resamples"
    print(f"{told}: {time.process_time() - began:.2f} s")


if __name__ == "__main__":
    main()
