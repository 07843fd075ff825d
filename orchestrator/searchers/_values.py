"""What searchers know to be taken, and how they compare values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from segsweep.orchestrator.searchers import Values

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
