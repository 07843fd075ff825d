"""Images of one batch pasted into each other, labels with them: every pixel keeps one label, so any loss works.

CutMix: a rectangle whose share of the image is uniform in (0, 1) (Yun et al. 2019, arXiv:1905.04899, equation 2; for
segmentation: French et al. 2020, arXiv:1906.01916). ClassMix: half of the classes that the other image shows (Olsson
et al. 2021, arXiv:2007.07936, with the labels instead of predictions). There is no MixUp: a blend of two images has two
labels at every pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import VOID, ComponentOptions, Pair

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from segsweep.trainables.components import Uint8

    Mask = npt.NDArray[np.bool_]

Probability = Annotated[float, Field(ge=0, le=1)]


class MixingOptions(ComponentOptions):
    """The probability of each image of a batch to get parts of another one."""

    cutmix: Probability = 0.0
    classmix: Probability = 0.0


def mixed(options: MixingOptions, pairs: Sequence[Pair], seed: int) -> Sequence[Pair]:
    """The batch with parts exchanged; `pairs` are all of one size and stay as they are.

    Every image has another one to take from, itself unchanged, the same for both kinds. A batch of one is not mixed.
    """
    import numpy as np

    if len(pairs) < 2 or not (options.cutmix or options.classmix):
        return pairs
    rng = np.random.default_rng((seed, 2))  # another sequence than that of the batch's first image
    shift = int(rng.integers(1, len(pairs)))
    results = []
    for i, pair in enumerate(pairs):
        other = pairs[(i + shift) % len(pairs)]
        if rng.random() < options.classmix:
            pair = _pasted(pair, other, half_of_the_classes(other.label, rng))
        if rng.random() < options.cutmix:
            pair = _pasted(pair, other, rectangle(other.label.shape, rng))
        results.append(pair)
    return results


def _pasted(pair: Pair, other: Pair, mask: Mask) -> Pair:
    import numpy as np

    return Pair(np.where(mask[..., None], other.image, pair.image), np.where(mask, other.label, pair.label))


def rectangle(shape: tuple[int, ...], rng: np.random.Generator) -> Mask:
    """A rectangle of the image's proportions around a random point, cut off at the borders."""
    import numpy as np

    side = math.sqrt(rng.uniform())
    mask = np.zeros(shape, np.bool_)
    mask[tuple(_extent(length, side, rng) for length in shape)] = True
    return mask


def _extent(length: int, side: float, rng: np.random.Generator) -> slice:
    center = rng.uniform(0, length)
    return slice(max(0, round(center - side * length / 2)), round(center + side * length / 2))


def half_of_the_classes(label: Uint8, rng: np.random.Generator) -> Mask:
    """Where a random half of the classes is; rounded down, so that the only class of an image is not pasted."""
    import numpy as np

    classes = np.flatnonzero(np.bincount(label.ravel(), minlength=VOID + 1)[:VOID])
    chosen = np.zeros(VOID + 1, np.bool_)
    chosen[rng.permutation(classes)[: len(classes) // 2]] = True
    return chosen[label]
