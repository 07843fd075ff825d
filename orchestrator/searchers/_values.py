"""Values of a combination's domains: what all searchers make, compare and know to be taken."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from pydantic import JsonValue

from segsweep.orchestrator.searchers import Values
from segsweep.orchestrator.space.domains import Choice, Domain, Suggest, resolve

if TYPE_CHECKING:
    from segsweep.orchestrator.planning.plan import Combination, CombinationKey
    from segsweep.orchestrator.record.trials import TrialState

Points: TypeAlias = "Callable[[Combination, int], Iterator[Values]]"
"""A combination's points from number `start` on, in a fixed order that reaches every point of a finite space."""


class FixedOrder:
    """A searcher that learns nothing: the next point of the combination's sequence that no trial has."""

    def __init__(self, points: Points) -> None:
        self._points = points
        self._taken: dict[CombinationKey, set[str]] = {}

    def propose(self, combination: Combination, index: int) -> Values:
        if not combination.domains:
            return {}
        taken = self._taken.get(combination.key, set())
        points = self._points(combination, len(taken))  # those before are taken: none is skipped but for a duplicate
        return next(values for values in points if identity(values) not in taken)

    def recall(self, combination: Combination, trial: str, values: Values) -> None:
        self._taken.setdefault(combination.key, set()).add(identity(values))

    def observe(self, trial: TrialState) -> None:
        """How good a trial was changes nothing."""


def identity(values: Values) -> str:
    """Equal for equal values."""
    return json.dumps(values, sort_keys=True)


def resolved(combination: Combination, suggest: Suggest) -> Values:
    """The value of every domain that exists, by path."""
    values: dict[str, JsonValue] = {}

    def note(path: str, domain: Domain) -> JsonValue:
        values[path] = suggest(path, domain)
        return values[path]

    resolve(combination.space, note)
    return values


def published(domain: Domain) -> JsonValue:
    """The value of the first trial; None if the domain has none."""
    if isinstance(domain, Choice) or domain.first is None:
        return domain.first
    return int(domain.first) if domain.integer else float(domain.first)


def at_fraction(domain: Domain, fraction: float) -> JsonValue:
    """The value below which `fraction`, in [0, 1), of the domain lies; of a log domain, by logarithm."""
    if isinstance(domain, Choice):
        return domain.values[int(fraction * len(domain.values))]
    edge = 0.5 if domain.integer else 0.0
    low, high = domain.low - edge, domain.high + edge
    value = low * (high / low) ** fraction if domain.log else low + (high - low) * fraction
    inside = min(max(math.floor(value + edge) if domain.integer else value, domain.low), domain.high)
    return int(inside) if domain.integer else float(inside)
