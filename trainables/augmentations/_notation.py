"""Transforms of albumentations in the YAML's notation, and what is wrong with them as far as names tell.

    [{HorizontalFlip: {p: 0.5}}, CLAHE, {OneOf: [{GaussianBlur: {blur_limit: [3, 7]}}, MedianBlur]}]

A transform is its name, or {name: arguments}; a group takes a list of transforms, or {transforms: [...], p: 0.3}. Names
and arguments are looked up in a list that is committed, so that checking them imports no library;
`benchmarks/list_transforms.py` writes the list, a test holds it against the library.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple, TypedDict

from pydantic import JsonValue

from segsweep.trainables.catalog import did_you_mean
from segsweep.trainables.components import VOID

Place = tuple[str | int, ...]

GROUPS = {
    "OneOf": ("transforms", "p"),
    "SomeOf": ("transforms", "n", "replace", "p"),
    "RandomOrder": ("transforms", "n", "replace", "p"),
    "Sequential": ("transforms", "p"),
}

KEEPS_LABELS: Mapping[str, tuple[JsonValue, ...]] = {
    "fill_mask": (VOID, None),
    "mask_drop_value": (VOID, None),
    "mask_interpolation": (0, 6, "INTER_NEAREST", "INTER_NEAREST_EXACT"),
    "area_for_downscale": (None, "image"),  # image_mask would average class numbers
}
"""Arguments that decide what becomes of labels, and the values that keep them labels.

fill_mask None leaves the labels of blanked-out pixels; where pixels come in from outside the library does not take it.
"""


class Wrong(NamedTuple):
    """One mistake in a list of transforms."""

    place: Place
    message: str
    value: JsonValue = None


@dataclass(frozen=True)
class Node:
    """A transform, or a group with its children."""

    place: Place
    name: str
    arguments: Mapping[str, JsonValue]
    children: tuple[Node, ...] = ()


class _Listed(TypedDict):
    """transforms.json."""

    accepted: dict[str, str]  # name: arguments, with a space between them
    required: dict[str, str]  # name: those without a default
    refused: dict[str, str]  # name: why


@cache
def _listed() -> _Listed:
    listed: _Listed = json.loads(files(__package__).joinpath("transforms.json").read_text("utf-8"))
    return listed


@cache
def names() -> tuple[str, ...]:
    """Every transform that is safe for masks, and the groups."""
    return (*_listed()["accepted"], *GROUPS)


def arguments(name: str) -> tuple[str, ...]:
    """The arguments that transform or group `name` takes."""
    return GROUPS.get(name) or tuple(_listed()["accepted"][name].split())


def written(place: Place) -> str:
    """ "[2].OneOf[0].Rotate" """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)


def parsed(transforms: JsonValue, at: Place = ()) -> tuple[Node, ...]:
    """A list without `mistakes` as nodes."""
    assert isinstance(transforms, list | tuple)
    return tuple(_node(item, (*at, i)) for i, item in enumerate(transforms))


def _node(item: JsonValue, at: Place) -> Node:
    if isinstance(item, str):
        return Node(at, item, {})
    assert isinstance(item, dict)
    name, given = next(iter(item.items()))
    at = (*at, name)
    if isinstance(given, list | tuple):
        return Node(at, name, {}, parsed(given, at))
    assert isinstance(given, dict | None)
    plain = dict(given or {})
    return Node(at, name, plain, parsed(plain.pop("transforms", ()), (*at, "transforms")))  # type: ignore[arg-type]


def mistakes(transforms: JsonValue, at: Place = ()) -> Iterator[Wrong]:
    """What is wrong with a list of transforms as far as names tell; values of arguments are the library's matter."""
    if not isinstance(transforms, list | tuple) or not transforms:
        yield Wrong(at, "must be a list of transforms, e.g. [{HorizontalFlip: {p: 0.5}}]", transforms)
        return
    for i, item in enumerate(transforms):
        yield from _of_item(item, (*at, i))


def _of_item(item: JsonValue, at: Place) -> Iterator[Wrong]:
    name = item if isinstance(item, str) else next(iter(item)) if isinstance(item, dict) and len(item) == 1 else None
    if name is None:
        yield Wrong(at, "must be the name of a transform, or {name: {argument: value}}", item)
    elif name not in names():
        yield Wrong(at, _unknown(name), item)
    elif isinstance(item, dict):
        yield from _of_arguments(name, item[name], (*at, name))
    else:
        yield from _of_arguments(name, None, at)


def _unknown(name: str) -> str:
    if reason := _listed()["refused"].get(name):
        return f"{name} {reason}"
    hint = did_you_mean(name, names())
    return f"albumentations has no transform '{name}'.{hint} {len(names())} are known, such as HorizontalFlip"


def _of_arguments(name: str, given: JsonValue, at: Place) -> Iterator[Wrong]:
    if name in GROUPS and isinstance(given, list | tuple):
        yield from mistakes(given, at)
    elif isinstance(given, dict | None):  # None: `- HorizontalFlip:` with nothing behind it
        yield from _of_mapping(name, given or {}, at)
    else:
        yield Wrong(at, f"must be a mapping of {name}'s arguments: {', '.join(arguments(name))}", given)


def _of_mapping(name: str, given: Mapping[str, JsonValue], at: Place) -> Iterator[Wrong]:
    for key, value in given.items():
        if key not in arguments(name):
            known = arguments(name)
            yield Wrong(
                (*at, key), f"{name} has no argument '{key}'.{did_you_mean(key, known)} Known: {', '.join(known)}"
            )
        elif allowed := _allowed(name, key, value):
            yield Wrong((*at, key), f"must be {allowed}, not {json.dumps(value)}", value)
    missing = [key for key in _listed()["required"].get(name, "").split() if key not in given]
    if missing:
        yield Wrong(at, f"{name} needs {' and '.join(missing)}")
    if name in GROUPS:
        yield from mistakes(given.get("transforms"), (*at, "transforms"))


def _allowed(name: str, key: str, value: JsonValue) -> str:
    """What an argument would have to be; "" if its value will do, or only the library can tell."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if key == "p" and (number is None or not 0 <= number <= 1):
        return "a probability from 0 to 1"
    if name in GROUPS and key == "n" and (not isinstance(number, int) or number < 1):
        return "a whole number of at least 1"
    if name in GROUPS and key == "replace" and not isinstance(value, bool):
        return "true or false"
    if key in KEEPS_LABELS and value not in KEEPS_LABELS[key]:
        return f"{' or '.join(map(json.dumps, KEEPS_LABELS[key]))} for labels to stay labels (it is set by itself)"
    return ""
