"""Numbers of the training loop that a sweep or one of its models fixes, or leaves to the searcher."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from segsweep.orchestrator.checking.explanations import shown
from segsweep.orchestrator.space.domains import DomainError, sampled_options


class Setting(NamedTuple):
    allowed: str  # in words
    domains: str
    fits: Callable[[Any], bool]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _none_or_between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: value is None or (_number(value) and low < value < high)


WHOLE = Setting("a whole number of at least 1", "{int: [...]} or {logint: [...]}", _whole)
RANGES = "{uniform: [...]} or {loguniform: [...]}"
RULES = {
    "batch_size": WHOLE,
    "accumulation": WHOLE,
    "clip_norm": Setting("a number above 0, null", RANGES, _none_or_between(0, math.inf)),
    "ema": Setting("a number above 0 and below 1, null", RANGES, _none_or_between(0, 1)),
}


def mistake_in(name: str, value_or_domain: Any) -> str | None:
    """What is wrong with one of the spec's SETTINGS, with any of the values that it may take; None if nothing is."""
    setting = RULES[name]
    try:
        for sample in sampled_options({name: value_or_domain}):
            if not setting.fits(sample[name]):
                allowed = f"{setting.allowed}, {{choice: [...]}}, {setting.domains}"
                return f"must be {allowed}, not {shown(sample[name])}"
    except DomainError as error:
        return str(error)
    return None
