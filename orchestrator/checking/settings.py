"""Values of training that a sweep, a model or a dataset fixes, or leaves to the searcher."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, get_args

from segsweep.orchestrator.checking.explanations import shown
from segsweep.orchestrator.space.domains import DomainError, sampled_options
from segsweep.trainables.config import Precision


class Setting(NamedTuple):
    allowed: str  # in words, domains included
    fits: Callable[[Any], bool]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _size(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(_whole(side) and side >= 8 for side in value)


def _none_or_between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: value is None or (_number(value) and low < value < high)


def _one_of(*values: object) -> Setting:
    words, known = ", ".join(str(value).lower() for value in values), [(type(value), value) for value in values]
    return Setting(f"{words} or {{choice: [...]}}", lambda value: (type(value), value) in known)


WHOLE = Setting("a whole number of at least 1, {choice: [...]}, {int: [...]} or {logint: [...]}", _whole)
RANGES = "null, {choice: [...]}, {uniform: [...]} or {loguniform: [...]}"
RULES = {
    "batch_size": WHOLE,
    "accumulation": WHOLE,
    "clip_norm": Setting(f"a number above 0, {RANGES}", _none_or_between(0, math.inf)),
    "ema": Setting(f"a number above 0 and below 1, {RANGES}", _none_or_between(0, 1)),
    "precision": _one_of(*get_args(Precision)),
    "channels_last": _one_of("auto", True, False),
    "compile": _one_of(True, False),
    "image_size": Setting("[height, width], each at least 8, or {choice: [[256, 512], [512, 1024]]}", _size),
}


def mistake_in(name: str, value_or_domain: Any, processes: int = 1) -> str | None:
    """What is wrong with a setting or an image size, with any of the values that it may take; None if nothing is."""
    setting = RULES[name]
    try:
        for sample in sampled_options({name: value_or_domain}):
            value: Any = sample[name]
            if not setting.fits(value):
                return f"must be {setting.allowed}, not {shown(value)}"
            if name == "batch_size" and value < processes:
                too_few = f"{value} are fewer images than the {processes} processes of a trial could share"
                return f"{too_few} (resources); give at least {processes}"
    except DomainError as error:
        return str(error)
    return None


def sound_values(name: str, value_or_domain: Any) -> Iterator[Any]:
    """Those of a setting's or an image size's values that are right; the others are reported elsewhere."""
    with contextlib.suppress(DomainError):
        values = [sample[name] for sample in sampled_options({name: value_or_domain})]
        yield from filter(RULES[name].fits, values)
