"""A random crop at a random scale, avoiding crops that show almost one class alone.

Source: random scale and crop as in DeepLab (Chen et al. 2017, arXiv:1706.05587, section 4.1); the limit on one class's
share is `cat_max_ratio` of mmsegmentation's RandomCrop, with its ten tries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import VOID, Pair
from segsweep.trainables.data.resize import resize_pair

if TYPE_CHECKING:
    import numpy as np

    from segsweep.trainables.components import Uint8

TRIES = 10

Scale = Annotated[float, Field(ge=0.1, le=10)]
CatMaxRatio = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class Framing:
    """Pairs of any size become `size`, (height, width); what is padded is black and VOID.

    cat_max_ratio: the largest share that one class may have of a crop's labelled pixels, if ten tries find such a crop.
    """

    size: tuple[int, int]
    scale_min: float = 1.0
    scale_max: float = 1.0
    cat_max_ratio: float = 1.0

    def __call__(self, pair: Pair, seed: int) -> Pair:
        """The crop is cut before it is scaled, so that no other pixel is read from the cache or computed."""
        import numpy as np

        rng = np.random.default_rng((seed, 1))  # another sequence than that of the transforms
        scale = rng.uniform(self.scale_min, self.scale_max)
        rows, height, top = _along(self.size[0], pair.label.shape[0], scale, rng)
        columns, width, left = _along(self.size[1], pair.label.shape[1], scale, rng)
        limited = self.cat_max_ratio < 1 and pair.label[rows, columns].shape != pair.label.shape  # else all are equal
        for _ in range(TRIES - 1 if limited else 0):
            if _largest_share(pair.label[rows, columns]) <= self.cat_max_ratio:
                break
            rows, columns = _moved(rows, pair.label.shape[0], rng), _moved(columns, pair.label.shape[1], rng)
        scaled = resize_pair(Pair(pair.image[rows, columns], pair.label[rows, columns]), (height, width))
        if scaled.label.shape == self.size:
            return scaled
        padded = Pair(np.zeros((*self.size, 3), np.uint8), np.full(self.size, VOID, np.uint8))
        place = slice(top, top + height), slice(left, left + width)
        padded.image[place], padded.label[place] = scaled
        return padded


def _along(side: int, given: int, scale: float, rng: np.random.Generator) -> tuple[slice, int, int]:
    """On one axis: what is cut from the `given` pixels, how many it becomes of `side`, and where among them."""
    wanted = max(1, round(side / scale))
    taken = min(wanted, given)
    target = side if wanted <= given else min(side, max(1, round(given * scale)))
    return _moved(slice(0, taken), given, rng), target, int(rng.integers(side - target + 1))


def _moved(cut: slice, given: int, rng: np.random.Generator) -> slice:
    length = cut.stop - cut.start
    start = int(rng.integers(given - length + 1))
    return slice(start, start + length)


def _largest_share(label: Uint8) -> float:
    """Of the labelled pixels, the share of the commonest class; 1 where nothing is labelled."""
    import numpy as np

    pixels = np.bincount(label.ravel(), minlength=VOID + 1)[:VOID]
    return float(pixels.max() / pixels.sum()) if pixels.any() else 1.0
