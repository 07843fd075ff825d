"""Transforms of albumentations made from the YAML's notation, safe for class masks, and tried out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue, ValidationError

from segsweep.trainables.augmentations._notation import GROUPS, Node, Wrong, arguments, written
from segsweep.trainables.augmentations._pipeline import library
from segsweep.trainables.components import VOID, Pair

if TYPE_CHECKING:
    from albumentations import BasicTransform

NEAREST, LINEAR, AREA, NEAREST_EXACT = 0, 1, 3, 6  # of OpenCV
RESIZES = (
    *("RandomScale", "Resize", "LongestMaxSize", "SmallestMaxSize"),
    *("RandomResizedCrop", "RandomSizedCrop", "CropAndPad"),
)
"""Transforms that take INTER_NEAREST_EXACT; INTER_NEAREST would shift labels by up to half a pixel there."""

ALIGNED: Mapping[str, Mapping[str, JsonValue]] = {
    "CropNonEmptyMaskIfExists": {"ignore_values": [VOID]},
    # by default the library shifts these images, and not their masks: by half the blur, and by 1.5 pixels
    "MotionBlur": {"allow_shifted": False},
    "Downscale": {"interpolation_pair": {"downscale": AREA, "upscale": LINEAR}},
}
"""Arguments that single transforms need for an image to stay on its labels."""


class TransformError(ValueError):
    """A transform that the library does not build, or that fails; the message names place, argument and value."""

    def __init__(self, wrong: Wrong) -> None:
        super().__init__(f"transforms{written(wrong.place)}: {wrong.message}")
        self.wrong = wrong


def build(nodes: Sequence[Node]) -> list[BasicTransform]:
    """Raises TransformError for values that the library refuses."""
    return [_built(node) for node in nodes]


def _built(node: Node) -> BasicTransform:
    given: Mapping[str, Any]
    if node.name in GROUPS:
        given = {**node.arguments, "transforms": build(node.children)}
    else:
        given = {key: _value(value) for key, value in {**_safe(node.name), **node.arguments}.items()}
    try:
        return getattr(library(), node.name)(**given)
    except Exception as error:
        raise TransformError(_refused(error, node)) from error


def _safe(name: str) -> dict[str, JsonValue]:
    """What is set unless the user does."""
    safe: dict[str, JsonValue] = {
        "fill_mask": VOID,
        "mask_interpolation": NEAREST_EXACT if name in RESIZES else NEAREST,
        "area_for_downscale": "image",
    }
    return {**{key: value for key, value in safe.items() if key in arguments(name)}, **ALIGNED.get(name, {})}


def _value(value: JsonValue) -> Any:
    """YAML's lists as tuples; INTER_AREA and BORDER_REFLECT_101 as OpenCV's numbers."""
    import cv2

    if isinstance(value, list | tuple):
        return tuple(_value(child) for child in value)
    if isinstance(value, str) and value.startswith(("INTER_", "BORDER_")):
        return getattr(cv2, value, value)
    return value


def _refused(error: Exception, node: Node) -> Wrong:
    """What the library says against its arguments, in one line. Its own message is pydantic's of many lines."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return Wrong(node.place, _first_line(error))
    first = cause.errors()[0]
    where = tuple(part for part in first["loc"] if isinstance(part, str))[:1]
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(first["input"], dict) else f", not {first['input']!r}"
    return Wrong((*node.place, *where), f"{message[:1].lower()}{message[1:]}{shown}")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or repr(error)


def unbuildable(nodes: Sequence[Node]) -> Iterator[Wrong]:
    """Every transform whose values the library refuses."""
    for node in nodes:
        yield from unbuildable(node.children)
        if node.name not in GROUPS:
            try:
                _built(node)
            except TransformError as error:
                yield error.wrong


def try_out(nodes: Sequence[Node], pair: Pair) -> Pair:
    """Every transform applied once; of a group but Sequential each child to the same pair.

    Raises TransformError where a transform fails or gives what no network is fed.
    """
    for node, transform in zip(nodes, build(nodes), strict=True):
        if node.name == "Sequential":
            pair = try_out(node.children, pair)
        elif node.children:
            pair = [try_out([child], pair) for child in node.children][-1]
        else:
            pair = _applied(node, transform, pair)
    return pair


def _applied(node: Node, transform: BasicTransform, pair: Pair) -> Pair:
    transform.set_random_seed(0)
    try:
        out = transform(image=pair.image, mask=pair.label, force_apply=True)
    except Exception as error:
        height, width = pair.label.shape
        raise TransformError(Wrong(node.place, f"fails for {height}x{width} pixels: {_first_line(error)}")) from error
    image, label = out["image"], out["mask"]
    if image.shape != (*label.shape, 3) or not image.dtype == label.dtype == pair.label.dtype:
        got = f"an image {image.shape} {image.dtype} with a mask {label.shape} {label.dtype}"
        raise TransformError(Wrong(node.place, f"gives {got}, but must give (h, w, 3) uint8 with (h, w) uint8"))
    return Pair(image, label)
