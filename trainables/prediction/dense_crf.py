"""Labels drawn to the edges in the image: a fully connected conditional random field, solved by mean field.

Source: Krähenbühl & Koltun, "Efficient inference in fully connected CRFs with Gaussian edge potentials", NeurIPS 2011,
as in their code: kernels are normalised symmetrically, and labels that differ cost the same whatever they are (Potts).
The standard deviations and weights are those of DeepLab (Chen et al. 2018, section 4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import softmax

from segsweep.trainables.components import DataError
from segsweep.trainables.prediction.permutohedral import Lattice

if TYPE_CHECKING:
    from segsweep.trainables.components import Uint8
    from segsweep.trainables.prediction.permutohedral import Floats

    Filter = Callable[[Floats], Floats]  # of (N, C) values at the pixels

MOST_VALUES = 160_000_000  # pixels times classes: takes about 7 GB
LEAST_PROBABILITY = 1e-8  # what the network rules out can still be argued for


@dataclass(frozen=True)
class DenseCrf:
    """Pixels near each other and of like colour attract each other's labels, close neighbours whatever their colour."""

    xy: float = 67.0  # standard deviation of nearness, in pixels
    rgb: float = 3.0  # standard deviation of likeness, in values of 0..255
    weight: float = 4.0  # of both together
    close_xy: float = 1.0  # standard deviation of closeness, in pixels
    close_weight: float = 3.0
    steps: int = 10

    def labels(self, image: Uint8, probabilities: Floats) -> Uint8:
        """(H, W) of the image (H, W, 3), RGB, and what the network gives (C, H, W)."""
        size = (image.shape[0], image.shape[1])
        unary = np.log(probabilities.reshape(len(probabilities), -1).T.clip(min=LEAST_PROBABILITY))
        kernels = [(self.weight, self._like(image)), (self.close_weight, self._close(size))]
        belief = softmax(unary, axis=1)
        for _ in range(self.steps):
            belief = softmax(unary + sum(weight * kernel(belief) for weight, kernel in kernels), axis=1)
        return np.asarray(belief.argmax(axis=1), np.uint8).reshape(size)

    def check(self, path: Path, size: tuple[int, int], classes: int) -> None:
        """size: (height, width) of the image. Raises DataError if it is too large."""
        most = MOST_VALUES // classes
        if size[0] * size[1] > most:
            what = f"{path}: {size[1]}x{size[0]} pixels are too many for a dense CRF of {classes} classes"
            raise DataError(f"{what}; at most {most:,}. Cut the image, or name a region with --roi")

    def _like(self, image: Uint8) -> Filter:
        rows, columns = np.indices(image.shape[:2]) / self.xy
        points = np.dstack([columns, rows, image / self.rgb]).reshape(-1, 5)
        return _normalised(Lattice(points).filtered, len(points))

    def _close(self, size: tuple[int, int]) -> Filter:
        def blurred(values: Floats) -> Floats:
            planes = gaussian_filter(values.reshape(*size, -1), self.close_xy, axes=(0, 1), mode="constant")
            return np.asarray(planes).reshape(values.shape)

        return _normalised(blurred, size[0] * size[1])


def _normalised(kernel: Filter, pixels: int) -> Filter:
    """D^(-1/2) K D^(-1/2), where D has K's row sums: pixels in large even regions do not shout down the others."""
    scale = 1 / np.sqrt(kernel(np.ones((pixels, 1), np.float32)))
    return lambda values: scale * kernel(scale * values)
