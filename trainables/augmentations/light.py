"""Flip, scale, crop and mild colour jitter: the augmentation that nearly every segmentation recipe shares.

Source: random scale, flip and crop as in DeepLab (Chen et al. 2017, arXiv:1706.05587, section 4.1), in a narrower
range of scales; colour jitter as in SegFormer's recipe (photometric distortion), milder.

Preparing batches gives 0.35 of the images/s of `none` (340 against 980; CamVid at 360x480, one CPU core).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from segsweep.trainables.augmentations._framing import CatMaxRatio, Scale
from segsweep.trainables.augmentations._pipeline import Pipeline, PresetOptions, composed, library
from segsweep.trainables.components import Augmentation


class Options(PresetOptions):
    """jitter: relative change of colour."""

    scale_min: Scale = 0.75
    scale_max: Scale = 1.5
    cat_max_ratio: CatMaxRatio = 1.0
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.2  # of brightness, contrast and saturation; hue changes by a tenth


def build(options: Options, image_size: tuple[int, int]) -> Augmentation:
    """Pairs of any size become (height, width) = `image_size`; what is padded is black and VOID."""
    augment = library()
    jitter = (1 - options.jitter, 1 + options.jitter)
    hue = (-options.jitter / 10, options.jitter / 10)
    colours = [augment.ColorJitter(jitter, jitter, jitter, hue, p=1)] if options.jitter else []
    transforms = composed([augment.HorizontalFlip(p=options.flip), *colours])
    return Pipeline((options.framing(image_size), transforms), options)
