"""No augmentation: every epoch sees the same images."""

from __future__ import annotations

from functools import partial

from segsweep.trainables.components import Augmentation, ComponentOptions, Pair
from segsweep.trainables.data.resize import resize_pair


class Options(ComponentOptions):
    """There is nothing to choose."""


def build(options: Options, image_size: tuple[int, int]) -> Augmentation:
    """Pairs of `image_size` (height, width) come back as they are, others are resized."""
    return partial(_unchanged, image_size)


def _unchanged(image_size: tuple[int, int], pair: Pair, seed: int) -> Pair:
    return resize_pair(pair, image_size)
