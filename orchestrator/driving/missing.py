"""The trials that a sweep still has to create: of which combination the next one is, and values that it has to have."""

from __future__ import annotations

from collections import Counter

from pydantic import JsonValue

from segsweep.orchestrator.planning.allocation import Allotment
from segsweep.orchestrator.planning.plan import Combination, CombinationKey, key_of
from segsweep.orchestrator.record.journal import SweepCreated, SweepExtended, TrialCreated
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell, TrialState


class MissingTrials:
    def __init__(self, allotment: Allotment, state: SweepState) -> None:
        self._allotment = allotment
        self._state = state
        self._created: Counter[CombinationKey] = Counter()
        self._position = 0  # in the allotment's order: everything before it has its trial
        self._passed: Counter[CombinationKey] = Counter()  # what is before it
        self._known: dict[CombinationKey, list[dict[str, JsonValue]]] = {}  # of earlier sweeps, the best first
        self._anew: dict[CombinationKey, list[TrialState]] = {}  # superseded trials whose values are trained again

    def next(self) -> Combination | None:
        """The first in the allotted order that has no trial yet: a combination is in it once for each."""
        order = self._allotment.order
        while self._position < len(order):
            combination = order[self._position]
            if self._created[combination.key] <= self._passed[combination.key]:
                return combination
            self._passed[combination.key] += 1
            self._position += 1
        return None

    def of(self, cell: Cell) -> Combination | None:
        """A combination of the cell that lacks a trial."""
        lacking = (c for c in self._allotment.plan.cells[cell] if self._created[c.key] < self._allotment.wanted[c.key])
        return next(lacking, None)

    def replaced(self, combination: Combination) -> TrialState | None:
        """The trial that the combination's next one replaces, with the same values."""
        return next(iter(self._anew.get(combination.key, ())), None)

    def known(self, combination: Combination) -> dict[str, JsonValue] | None:
        """Values that the combination's next trial tries before the searcher is asked."""
        left = self._known.get(combination.key, [])[self._created[combination.key] :]
        return next(iter(left), None)

    def absorb(self, event: SweepCreated | SweepExtended | TrialCreated) -> None:
        match event:
            case SweepCreated():
                for known in event.known:
                    self._known.setdefault(known.combination, []).append(known.values)
            case SweepExtended():
                self._position, self._passed = 0, Counter()  # there may be more of what is behind us
                for old in (self._state.trials[id_] for id_ in event.anew):
                    self._created[key_of(old.config)] -= 1
                    self._anew.setdefault(key_of(old.config), []).append(old)
            case TrialCreated() if not event.confirms:
                key = key_of(event.config)
                self._created[key] += 1
                if event.anew:
                    self._anew[key] = [old for old in self._anew[key] if old.id != event.anew]
