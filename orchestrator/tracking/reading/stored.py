"""A run as a store has it, and what stores can be asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from segsweep.orchestrator.errors import InputError


class UnreadableError(InputError):
    """A store does not answer, or not as expected."""


class StoredRun(NamedTuple):
    run_id: str
    start_ms: int
    end_ms: int | None
    status: str  # MLflow's word
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]  # the last value of each; may be NaN


class Query(NamedTuple):
    """Which runs of experiments that are not deleted."""

    tags: Mapping[str, str]  # all of them have to be so
    ended_since_ms: int | None = None  # only runs that ended since, or have not ended
    deleted: bool = False  # only deleted runs, instead of only others


class Store(Protocol):
    """Its methods raise UnreadableError."""

    def search(self, query: Query) -> Iterable[StoredRun]:
        """The newest first."""
        ...

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        """All points of a metric: step and value."""
        ...


def newest_first(runs: Iterable[StoredRun]) -> list[StoredRun]:
    """Each run once, as it was read last; in the order that MLflow has."""
    return sorted({run.run_id: run for run in runs}.values(), key=lambda run: (-run.start_ms, run.run_id))
