"""Flip, scale, crop and mild colour jitter: the augmentation that nearly every segmentation recipe shares.

Source: random scale, flip and crop as in DeepLab (Chen et al. 2017, arXiv:1706.05587, section 4.1), in a narrower
range of scales; colour jitter as in SegFormer's recipe (photometric distortion), milder.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from segsweep.trainables.components import VOID, Augmentation, ComponentOptions, Pair
from segsweep.trainables.resize import resize_pair

if TYPE_CHECKING:
    import numpy as np
    from albumentations import Compose

Scale = Annotated[float, Field(ge=0.1, le=10)]
Strength = Annotated[float, Field(ge=0, lt=1)]


class Options(ComponentOptions):
    """flip: its probability; scale_min, scale_max: the range of zoom; jitter: relative change of colour."""

    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    scale_min: Scale = 0.75
    scale_max: Scale = 1.5
    jitter: Strength = 0.2  # of brightness, contrast and saturation; hue changes by a tenth of it

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> Self:
        if self.scale_min > self.scale_max:
            raise ValueError(f"scale_min is {self.scale_min:g}, but must be at most scale_max, {self.scale_max:g}")
        return self


def build(options: Options, image_size: tuple[int, int]) -> Augmentation:
    """Pairs of any size become (height, width) = `image_size`; what is padded is black and VOID."""
    return partial(_apply, options, image_size, _compose(options))


def _compose(options: Options) -> Compose:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or importing it asks the network for a newer version
    import albumentations as augment

    jitter = (1 - options.jitter, 1 + options.jitter)
    hue = (-options.jitter / 10, options.jitter / 10)
    colours = [augment.ColorJitter(jitter, jitter, jitter, hue, p=1)] if options.jitter else []
    return augment.Compose(
        [augment.HorizontalFlip(p=options.flip), *colours],
        strict=True,  # an unknown argument would only warn
    )


def _apply(options: Options, image_size: tuple[int, int], compose: Compose, pair: Pair, seed: int) -> Pair:
    import random

    import numpy as np

    zoomed = _zoomed(pair, image_size, options, np.random.default_rng((seed, 1)))
    # set_random_seed would give every transform the same numbers: whatever is flipped would also be jittered alike
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
    out = compose(image=zoomed.image, mask=zoomed.label)
    return Pair(out["image"], out["mask"])


def _zoomed(pair: Pair, size: tuple[int, int], options: Options, rng: np.random.Generator) -> Pair:
    """A random crop of `size` from the pair at a random scale.

    The crop is cut before it is scaled, so that no other pixel is read from the cache or computed.
    """
    import numpy as np

    scale = rng.uniform(options.scale_min, options.scale_max)
    windows, targets, offsets = [], [], []
    for side, given in zip(size, pair.label.shape, strict=True):
        wanted = max(1, round(side / scale))
        taken = min(wanted, given)
        target = side if wanted <= given else min(side, max(1, round(given * scale)))
        start, offset = int(rng.integers(given - taken + 1)), int(rng.integers(side - target + 1))
        windows.append(slice(start, start + taken))
        targets.append(target)
        offsets.append(slice(offset, offset + target))
    crop, place = tuple(windows), tuple(offsets)
    scaled = resize_pair(Pair(pair.image[crop], pair.label[crop]), (targets[0], targets[1]))
    if scaled.label.shape == size:
        return scaled
    padded = Pair(np.zeros((*size, 3), np.uint8), np.full(size, VOID, np.uint8))
    padded.image[place], padded.label[place] = scaled
    return padded
