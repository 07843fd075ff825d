"""Any store that MLflow's client can read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from segsweep.orchestrator.tracking.reading.filters import PAGE, filters, fits
from segsweep.orchestrator.tracking.reading.stored import Query, StoredRun, newest_first
from segsweep.orchestrator.tracking.store import check, connect

if TYPE_CHECKING:
    from mlflow.entities import Run


class ClientStore:
    def __init__(self, uri: str) -> None:
        """Raises InputError if the store does not answer."""
        check(uri)
        self._client = connect(uri)

    def search(self, query: Query) -> list[StoredRun]:
        found = (_stored(run) for text in filters(query) for run in self._runs(text, query.deleted))
        return [run for run in newest_first(found) if fits(run, query)]

    def _runs(self, text: str, deleted: bool) -> Iterator[Run]:
        from mlflow.entities import ViewType

        view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
        experiments = [e.experiment_id for e in self._client.search_experiments(max_results=50_000)]
        token = None
        while experiments:
            page = self._client.search_runs(experiments, text, view, max_results=PAGE, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in self._client.get_metric_history(run_id, key)]


def _stored(run: Run) -> StoredRun:
    info, data = run.info, run.data
    return StoredRun(info.run_id, info.start_time, info.end_time, info.status, data.tags, data.params, data.metrics)
