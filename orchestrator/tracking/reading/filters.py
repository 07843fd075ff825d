"""Queries in MLflow's own grammar, for its client and its API."""

from __future__ import annotations

from collections.abc import Iterator

from segsweep.orchestrator.tracking.reading.stored import Query, StoredRun

PAGE = 250  # runs; of a busy server that takes seconds, and none waits long enough for 1,000


def filters(query: Query) -> Iterator[str]:
    """Their results together are the query's: the grammar knows no "or". In this order a run that ends is not missed.

    Values that the grammar cannot quote are left out; see `fits`.
    """
    tags = [f"tags.`{tag}` = '{value}'" for tag, value in query.tags.items() if "'" not in value]
    if query.ended_since_ms is None:
        yield " and ".join(tags)
        return
    yield " and ".join([*tags, "attributes.status = 'RUNNING'"])
    yield " and ".join([*tags, f"attributes.end_time >= {query.ended_since_ms}"])


def fits(run: StoredRun, query: Query) -> bool:
    return all(run.tags.get(tag) == value for tag, value in query.tags.items())
