"""The dense CRF: the same labels as with every pair of pixels summed up, edges of the image where labels were rough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from segsweep.trainables.components import DataError
from segsweep.trainables.prediction import dense_crf as module
from segsweep.trainables.prediction.dense_crf import DenseCrf
from segsweep.trainables.prediction.permutohedral import Lattice


def gaussians(points: np.ndarray) -> np.ndarray:
    """(N, N)"""
    return np.asarray(np.exp(-((points[:, None] - points[None]) ** 2).sum(axis=-1) / 2))


def exact(crf: DenseCrf, image: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The paper's algorithm 1, as slow as it is written."""
    rows, columns = np.indices(image.shape[:2])
    places = np.stack([rows, columns], axis=-1).reshape(-1, 2)
    like = gaussians(np.concatenate([places / crf.xy, image.reshape(-1, 3) / crf.rgb], axis=1))
    pairs = 0
    for weight, kernel in ((crf.weight, like), (crf.close_weight, gaussians(places / crf.close_xy))):
        scale = kernel.sum(axis=1) ** -0.5
        pairs = pairs + weight * scale[:, None] * kernel * scale
    unary = np.log(probabilities.reshape(len(probabilities), -1).T)
    belief = softmax(unary, axis=1)
    for _ in range(crf.steps):
        belief = softmax(unary + pairs @ belief, axis=1)
    return belief


@pytest.mark.parametrize(("dimensions", "spread"), [(1, 0.05), (2, 0.07), (3, 0.1), (5, 0.2)])  # few points in many
def test_the_lattice_sums_by_gaussians_up_to_one_factor(dimensions: int, spread: float) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-2, 2, (500, dimensions))
    values = rng.random((500, 3), np.float32)
    ratio = Lattice(points).filtered(values) / (gaussians(points) @ values)
    assert ratio.std() / ratio.mean() < spread


def test_labels_are_those_of_all_pairs_of_pixels() -> None:
    rng = np.random.default_rng(1)
    image = np.full((24, 32, 3), 60, np.uint8)
    image[6:18, 10:24] = (140, 120, 90)
    image = (image + rng.integers(0, 9, image.shape)).astype(np.uint8)
    rough = rng.normal(size=(3, 6, 8)).repeat(4, axis=1).repeat(4, axis=2)
    probabilities = softmax(rough, axis=0)
    crf = DenseCrf(xy=12, rgb=10)
    belief = exact(crf, image, probabilities)
    expected = belief.argmax(axis=1).reshape(24, 32)
    assert (expected != probabilities.argmax(axis=0)).mean() > 0.2  # it has something to do
    assert (crf.labels(image, probabilities) == expected).mean() > 0.97


def test_labels_end_where_the_colour_does_and_specks_go() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, 17:] = 200
    probabilities = np.full((2, 40, 40), 0.3)
    probabilities[1, :, 20:] = 0.7  # three columns too late
    probabilities[1, 10, 5] = 0.7
    probabilities[0] = 1 - probabilities[1]
    found = DenseCrf(xy=20, rgb=5).labels(image, probabilities)
    assert (found == (image[..., 0] > 0)).all()


def test_without_kernels_labels_stay() -> None:
    rng = np.random.default_rng(2)
    probabilities = softmax(rng.normal(size=(4, 9, 11)), axis=0)
    found = DenseCrf(weight=0, close_weight=0).labels(rng.integers(0, 256, (9, 11, 3), np.uint8), probabilities)
    assert (found == probabilities.argmax(axis=0)).all()


def test_an_image_that_memory_would_not_hold_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_VALUES", 3 * 1000)
    DenseCrf().check(Path("a.png"), (20, 50), classes=3)
    with pytest.raises(DataError, match=r"a\.png: 51x20 pixels are too many .* 3 classes; at most 1,000\. .* --roi"):
        DenseCrf().check(Path("a.png"), (20, 51), classes=3)
