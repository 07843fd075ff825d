"""Write trainables/augmentations/transforms.json: which transforms of the installed albumentations suit image and mask.

    python benchmarks/list_transforms.py > trainables/augmentations/transforms.json        (seconds, no network)

The library's own classes say most of it: a DualTransform changes image and mask alike, an ImageOnlyTransform leaves
the mask alone. REFUSED and HIDDEN hold what they do not say. Run it after an update of the library; a test in
tests/test_augmentations_transforms.py says when.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Iterator

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or importing it asks the network for a newer version
import albumentations
from albumentations import BasicTransform, DualTransform, ImageOnlyTransform, Transform3D

NEEDS_IMAGES = "needs other images or texts beside the pair"
NEEDS_BOXES = "needs bounding boxes"
GIVES_FLOATS = "changes the type of the image; segsweep normalises and converts by itself, after all transforms"

REFUSED = {
    "FDA": NEEDS_IMAGES,
    "HistogramMatching": NEEDS_IMAGES,
    "PixelDistributionAdaptation": NEEDS_IMAGES,
    "Mosaic": NEEDS_IMAGES,
    "OverlayElements": NEEDS_IMAGES,
    "TextImage": NEEDS_IMAGES,
    "AtLeastOneBBoxRandomCrop": NEEDS_BOXES,
    "BBoxSafeRandomCrop": NEEDS_BOXES,
    "RandomCropNearBBox": NEEDS_BOXES,
    "RandomSizedBBoxSafeCrop": NEEDS_BOXES,
    "Normalize": GIVES_FLOATS,
    "ToFloat": GIVES_FLOATS,
    "FromFloat": GIVES_FLOATS,
    "ToTensorV2": GIVES_FLOATS,
    "ToRGB": "does nothing: images are RGB already",
    "Lambda": "takes Python functions; a plug-in can offer a component of its own",
    "Morphological": "takes the highest or lowest class number around each pixel of the mask",
    "GridElasticDeform": "leaves gaps of class 0 between its cells; ElasticTransform does much the same",
    "FrequencyMasking": "masks with class 0; XYMasking does the same and takes fill_mask",
    "TimeMasking": "masks with class 0; XYMasking does the same and takes fill_mask",
    "TimeReverse": "is another name of HorizontalFlip",
    "ShiftScaleRotate": "is deprecated; Affine does the same",
}

HIDDEN = ("mask", "mask_params", "bbox_labels")  # arguments that name further inputs or are Python functions


def transforms() -> Iterator[type[BasicTransform]]:
    """Every transform of the package, by name; neither base classes nor groups such as OneOf."""
    for _, found in sorted(vars(albumentations).items()):
        if inspect.isclass(found) and issubclass(found, BasicTransform) and ".core." not in found.__module__:
            yield found


def refusal(transform: type[BasicTransform]) -> str:
    """Why it cannot be used on an image and its mask; "" if it can."""
    if issubclass(transform, Transform3D) or transform.__name__.endswith("3D"):
        return "is for volumes"
    if transform.__name__ in REFUSED:
        return REFUSED[transform.__name__]
    return "" if issubclass(transform, DualTransform | ImageOnlyTransform) else "is neither for images nor for masks"


def arguments(transform: type[BasicTransform], *, required: bool = False) -> str:
    """With a space between them; those without a default alone if `required`."""
    parameters = inspect.signature(transform.__init__).parameters.values()
    taken = [p for p in parameters if p.name not in {"self", *HIDDEN}]
    return " ".join(p.name for p in taken if not required or p.default is p.empty)


def listing() -> dict[str, dict[str, str]]:
    """`accepted`: name to arguments; `required`: name to those that must be given; `refused`: name to reason."""
    reasons = {transform: refusal(transform) for transform in transforms()}
    accepted = [transform for transform, reason in reasons.items() if not reason]
    return {
        "accepted": {t.__name__: arguments(t) for t in accepted},
        "required": {t.__name__: needed for t in accepted if (needed := arguments(t, required=True))},
        "refused": {t.__name__: reason for t, reason in reasons.items() if reason},
    }


if __name__ == "__main__":
    json.dump(listing(), sys.stdout, indent=1)
    print()
