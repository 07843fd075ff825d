"""Any transforms of albumentations by name (Buslaev et al. 2020, arXiv:1809.06839), then a crop to the image size.

    augmentations:
      - type: albumentations
        transforms:
          - HorizontalFlip
          - {Affine: {rotate: {choice: [[-10, 10], [-30, 30]]}, p: 0.8}}
          - {OneOf: [{GaussianBlur: {blur_limit: [3, 7]}}, MedianBlur]}
        cat_max_ratio: 0.75

Masks are never interpolated, and what comes in from outside or is blanked out is VOID. Transforms that cannot keep
image and mask together are refused. Images have the image size before the transforms; where one makes them smaller, as
RandomCrop does, the rest becomes VOID, so zoom with RandomResizedCrop or Affine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from segsweep.trainables.augmentations._framing import CatMaxRatio, Framing
from segsweep.trainables.augmentations._mixing import MixingOptions
from segsweep.trainables.augmentations._notation import mistakes, names, parsed, written
from segsweep.trainables.augmentations._pipeline import Pipeline, composed
from segsweep.trainables.augmentations._transforms import TransformError, try_out, unbuildable
from segsweep.trainables.augmentations._transforms import build as build_transforms
from segsweep.trainables.components import Augmentation, Pair, Problem


def _checked(transforms: tuple[JsonValue, ...]) -> tuple[JsonValue, ...]:
    details = [
        InitErrorDetails(type=PydanticCustomError("in_words", message), loc=place, input=value)
        for place, message, value in mistakes([*transforms])
    ]
    if details:
        raise ValidationError.from_exception_data("transforms", details)
    return transforms


def _schema() -> dict[str, Any]:
    known = {"enum": sorted(names())}
    single = {"minProperties": 1, "maxProperties": 1}
    with_arguments = {"type": "object", "propertyNames": known, "additionalProperties": {}, **single}
    return {"type": "array", "items": {"anyOf": [known, with_arguments]}, "minItems": 1}


Transforms = Annotated[tuple[JsonValue, ...], AfterValidator(_checked), WithJsonSchema(_schema())]


class Options(MixingOptions):
    """cat_max_ratio: the largest share of one class in the final crop, 1 for no limit."""

    transforms: Annotated[Transforms, Field(examples=[[{"HorizontalFlip": {"p": 0.5}}]])]
    cat_max_ratio: CatMaxRatio = 1.0


def build(options: Options, image_size: tuple[int, int]) -> Augmentation:
    """Pairs of any size become (height, width) = `image_size`; what is padded is black and VOID.

    Raises TransformError for a value that the library refuses.
    """
    transforms = composed(build_transforms(parsed([*options.transforms])))
    return Pipeline((transforms, Framing(image_size, cat_max_ratio=options.cat_max_ratio)), options)


def check(options: Options, image_size: tuple[int, int]) -> Iterator[Problem]:
    """Why the library refuses a value, or an image of `image_size` does not pass the transforms."""
    nodes = parsed([*options.transforms])
    wrong = list(unbuildable(nodes))
    try:
        if not wrong:
            try_out(nodes, _drawn(image_size))
    except TransformError as error:
        wrong.append(error.wrong)
    yield from (Problem(f"transforms{written(place)}", message) for place, message, _ in wrong)


def _drawn(size: tuple[int, int]) -> Pair:
    """Noise, with classes in its brightness."""
    import numpy as np

    image = np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
    return Pair(image, image[..., 0] // 64)
