"""The recipe of mmsegmentation: scale by 0.5 to 2, crop with at most three quarters of one class, flip, distort colour.

Source: `train_pipeline` of mmsegmentation's Cityscapes and ADE20K configurations (RandomResize, RandomCrop, RandomFlip,
PhotoMetricDistortion). Brightness, contrast, saturation and hue change half of the time each, as in SSD (Liu et al.
2016, arXiv:1512.02325, section 3.6).

Preparing batches gives 0.40 of the images/s of `none` (390 against 980; CamVid at 360x480, one CPU core).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.augmentations._pipeline import Pipeline, PresetOptions, composed, library
from segsweep.trainables.components import Augmentation

if TYPE_CHECKING:
    from albumentations import BasicTransform


class Options(PresetOptions):
    """photometric: the strength of the colours' changes relative to the recipe; 0 for none."""

    photometric: Annotated[float, Field(ge=0, le=2)] = 1.0


def build(options: Options, image_size: tuple[int, int]) -> Augmentation:
    """Pairs of any size become (height, width) = `image_size`; what is padded is black and VOID."""
    flip = library().HorizontalFlip(p=options.flip)
    return Pipeline((options.framing(image_size), composed([flip, *distortion(options.photometric)])), options)


def distortion(strength: float) -> list[BasicTransform]:
    """Photometric distortion; strength 1 is the recipe's."""
    if not strength:
        return []
    augment = library()
    unchanged, change = (1.0, 1.0), 0.5 * strength
    hue = strength * 18 / 180  # the recipe's unit is two degrees
    return [
        augment.RandomBrightnessContrast(strength * 32 / 255, 0, p=0.5),
        augment.RandomBrightnessContrast(0, change, p=0.5),
        augment.ColorJitter(unchanged, unchanged, (max(0.0, 1 - change), 1 + change), (0, 0), p=0.5),
        augment.ColorJitter(unchanged, unchanged, unchanged, (-hue, hue), p=0.5),
    ]
