"""What earlier sweeps found best, tried first in a new one.

Their values are compared among themselves only: scores of other epochs, sizes or data say nothing about the new ones,
and a searcher that was told both would take the difference for the work of the values.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from pydantic import JsonValue

from segsweep.orchestrator.planning.plan import Combination, SweepPlan
from segsweep.orchestrator.record.journal import KnownValues
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import TrialState, ranked
from segsweep.orchestrator.space.domains import Choice, Domain, resolve

MOST = 3  # of a combination, and at most half of its trials: the searcher shall look elsewhere, too


def known_values(plan: SweepPlan, earlier: Mapping[str, SweepState]) -> Iterator[KnownValues]:
    """For each combination the best finished trials of its model and optimizer that fit its domains.

    Those on its dataset come first, then the best one of each other dataset. earlier: sweep -> state.
    """
    finished = [
        (f"{name}/{trial.id}", trial)
        for name, state in earlier.items()
        for trial in state.searched
        if trial.status == "finished" and trial.best is not None
    ]
    for combination in plan.combinations:
        seen: set[str] = set()
        for source, trial in _in_order(combination, finished):
            values = _fitting(combination, trial.values)
            if not values or (identity := json.dumps(values, sort_keys=True)) in seen:
                continue
            seen.add(identity)
            yield KnownValues(combination=combination.key, values=values, source=source)
            if len(seen) >= min(MOST, max(1, combination.trials // 2)):
                break


def _in_order(combination: Combination, finished: Iterable[tuple[str, TrialState]]) -> list[tuple[str, TrialState]]:
    sources = {
        trial: source
        for source, trial in finished
        if trial.config.model.name == combination.model.name
        and trial.config.optimizer.name == combination.optimizer.name
        and trial.config.objective == combination.spec.objective
    }
    by_dataset: dict[str, list[TrialState]] = {}
    for trial in sources:
        by_dataset.setdefault(trial.config.dataset.name, []).append(trial)
    own = ranked(by_dataset.pop(combination.dataset.name, []))
    return [(sources[trial], trial) for trial in (*own, *(ranked(others)[0] for others in by_dataset.values()))]


class _OutsideError(Exception):
    pass


def _fitting(combination: Combination, old: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The old values of all domains that the combination has; empty if one is missing or outside."""
    values: dict[str, JsonValue] = {}

    def take(path: str, domain: Domain) -> JsonValue:
        if path not in old or not _within(domain, old[path]):
            raise _OutsideError
        values[path] = old[path]
        return old[path]

    try:
        resolve(combination.space, take)
    except _OutsideError:
        return {}
    return values


def _within(domain: Domain, value: JsonValue) -> bool:
    if isinstance(domain, Choice):
        return value in domain.values
    is_number = isinstance(value, int) if domain.integer else isinstance(value, int | float)
    return is_number and not isinstance(value, bool) and domain.low <= float(str(value)) <= domain.high
