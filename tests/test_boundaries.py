"""Boundary scores, counted by hand and against the definitions pixel by pixel."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from segsweep.trainables.components import VOID
from segsweep.trainables.scoring.boundaries import BoundaryCounts, boundary_scores

Map = npt.NDArray[np.uint8]


def scored(pairs: list[tuple[Map, Map]], num_classes: int, distance: float) -> dict[str, float]:
    """pairs: prediction, label."""
    counts = BoundaryCounts(num_classes, distance)
    for prediction, label in pairs:
        counts.update(torch.from_numpy(prediction), torch.from_numpy(label))
    return boundary_scores(counts.compute())


def square(top: int, left: int, side: int, size: int = 12) -> Map:
    """Class 1 on a background of 0."""
    found = np.zeros((size, size), np.uint8)
    found[top : top + side, left : left + side] = 1
    return found


def test_a_perfect_prediction_scores_1_void_or_not() -> None:
    label = square(3, 3, 5)
    label[5:9, 2:6] = VOID
    prediction = np.where(label == VOID, np.uint8(0), label)
    assert scored([(prediction, label)], 3, 0.1) == {"boundary_iou": 1.0, "boundary_f1": 1.0}


def test_a_square_moved_by_one_pixel_by_hand() -> None:
    """d = 1 on 12x12 (0.06 of the diagonal, 17 pixels). Class 1: rims of 4x4 squares, 12 pixels each; moved right by
    one they share the inner parts of two long sides: columns 4, 5, 6 of rows 3 and 6, which makes 6 of 18."""
    found = scored([(square(3, 4, 4), square(3, 3, 4))], 2, 0.06)
    # class 0: 44 pixels along the image's border, and a ring of 20 around each square (4-neighbours and diagonals)
    label_ring, predicted_ring = ring(3, 3), ring(3, 4)
    shared = len(label_ring & predicted_ring)
    background = (44 + shared) / (44 + len(label_ring | predicted_ring))
    assert found["boundary_iou"] == pytest.approx((6 / 18 + background) / 2)
    assert found["boundary_f1"] == 1.0  # nothing is further off than one pixel


def ring(top: int, left: int) -> set[tuple[int, int]]:
    """Pixels around a 4x4 square."""
    around = set(itertools.product(range(top - 1, top + 5), range(left - 1, left + 5)))
    return around - set(itertools.product(range(top, top + 4), range(left, left + 4)))


def near_edge(map_: Map, number: int, width: int) -> set[tuple[int, int]]:
    """Pixels of one class that have something else, or the outside, within `width` rows and columns."""
    inside = {(int(y), int(x)) for y, x in zip(*np.nonzero(map_ == number), strict=True)}
    steps = range(-width, width + 1)
    return {(y, x) for y, x in inside if any((y + a, x + b) not in inside for a in steps for b in steps)}


def by_definition(pairs: list[tuple[Map, Map]], num_classes: int, distance: float) -> dict[str, float]:
    counts = {number: [0] * 7 for number in range(num_classes)}
    for prediction, label in pairs:
        width = max(1, round(distance * math.hypot(*label.shape)))
        predicted = np.where(label == VOID, np.uint8(VOID), prediction)
        for number in range(num_classes):
            truth, guess = near_edge(label, number, width), near_edge(predicted, number, width)
            rim, guessed = near_edge(label, number, 1), near_edge(predicted, number, 1)
            found = [len(truth & guess), len(truth), len(guess)]
            found += [met(rim, guessed, width), len(rim), met(guessed, rim, width), len(guessed)]
            counts[number] = [a + b for a, b in zip(counts[number], found, strict=True)]
    ious = [both / (t + p - both) for both, t, p, *_ in counts.values() if t + p]
    f1s = []
    for *_, hits, true, right, all_ in counts.values():
        if true + all_:
            precision, recall = right / max(all_, 1), hits / max(true, 1)
            f1s.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return {"boundary_iou": sum(ious) / len(ious), "boundary_f1": sum(f1s) / len(f1s)}


def met(points: set[tuple[int, int]], others: set[tuple[int, int]], width: int) -> int:
    return sum(any(max(abs(y - v), abs(x - u)) <= width for v, u in others) for y, x in points)


@pytest.mark.parametrize("seed", range(4))
def test_counts_follow_the_definitions_over_a_split_of_any_sizes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = []
    for height, width in ((9, 14), (20, 11), (3, 25)):
        label = np.kron(rng.integers(0, 4, (7, 7)), np.ones((4, 4)))[:height, :width].astype(np.uint8)
        prediction = np.where(rng.random(label.shape) < 0.1, rng.integers(0, 3, label.shape), label).astype(np.uint8)
        label[rng.random(label.shape) < 0.1] = VOID
        pairs.append((prediction, label))
    pairs.append((pairs[0][0], np.full_like(pairs[0][1], VOID)))  # an image without a label counts nothing
    expected = by_definition(pairs, 5, 0.1)  # class 4 is nowhere
    assert scored(pairs, 5, 0.1) == pytest.approx(expected, abs=1e-12)


def test_a_split_without_labels_has_no_boundary_score() -> None:
    nothing = np.full((4, 4), VOID, np.uint8)
    assert all(math.isnan(value) for value in scored([(np.zeros_like(nothing), nothing)], 2, 0.02).values())


def test_the_inside_of_large_segments_does_not_count() -> None:
    label = np.zeros((60, 60), np.uint8)
    label[:, 30:] = 1
    hole = label.copy()
    hole[28:32, 10:14] = 2  # wrong, far from every edge
    found = scored([(hole, label)], 3, 0.02)
    assert found["boundary_iou"] < 1
    counts = BoundaryCounts(3, 0.02)
    counts.update(torch.from_numpy(label), torch.from_numpy(label))
    assert int(counts.compute()[0, 1]) == 60 * 30 - 56 * 26  # d = 2: a frame two pixels wide
