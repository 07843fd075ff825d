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

if TYPE_CHECKING:
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
    return partial(_apply, _compose(options, image_size))


def _compose(options: Options, image_size: tuple[int, int]) -> Compose:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or importing it asks the network for a newer version
    import albumentations as augment
    import cv2

    height, width = image_size
    jitter = (1 - options.jitter, 1 + options.jitter)
    return augment.Compose(
        [
            augment.HorizontalFlip(p=options.flip),
            augment.RandomScale(
                (options.scale_min - 1, options.scale_max - 1),
                mask_interpolation=cv2.INTER_NEAREST_EXACT,  # INTER_NEAREST shifts labels by up to half a pixel
                area_for_downscale="image",
                p=1,
            ),
            # fill_mask is 0 by default: a class of its own in every dataset
            augment.PadIfNeeded(height, width, position="random", fill=0, fill_mask=VOID, p=1),
            augment.RandomCrop(height, width, p=1),
            augment.ColorJitter(jitter, jitter, jitter, (-options.jitter / 10, options.jitter / 10), p=1),
        ],
        strict=True,  # an unknown argument would only warn
    )


def _apply(compose: Compose, pair: Pair, seed: int) -> Pair:
    import random

    import numpy as np

    # set_random_seed would give every transform the same numbers: whatever is flipped would also be scaled alike
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
    out = compose(image=pair.image, mask=pair.label)
    return Pair(out["image"], out["mask"])
