"""A SQLite store, read from MLflow's own tables: a tenth of the time that its client takes, and mlflow not imported."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from segsweep.orchestrator.errors import Mistake
from segsweep.orchestrator.tracking.reading.stored import Query, StoredRun, UnreadableError

TIMEOUT_S = 10.0  # for somebody else's write
TABLES = {
    "experiments": "experiment_id, lifecycle_stage",
    "runs": "run_uuid, experiment_id, lifecycle_stage, start_time, end_time, status",
    "tags": "run_uuid, key, value",
    "params": "run_uuid, key, value",
    "latest_metrics": "run_uuid, key, value, is_nan",
    "metrics": "run_uuid, key, value, is_nan, step",
}
AT_ONCE = 500  # runs
OF_THESE = "WHERE run_uuid IN (SELECT value FROM json_each(?))"


class SqliteStore:
    def __init__(self, path: Path) -> None:
        """Raises UnreadableError if the file cannot be read, or its tables are not as expected."""
        self._path = path
        try:
            self._database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=TIMEOUT_S)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        for table, columns in TABLES.items():
            self._ask(f"SELECT {columns} FROM {table} LIMIT 0")

    def _ask(self, query: str, values: Sequence[str | int] = ()) -> list[Any]:
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: sqlite3.Error) -> UnreadableError:
        return UnreadableError(Mistake(f"tracking URI sqlite:///{self._path}", f"cannot be read: {error}"))

    def search(self, query: Query) -> Iterator[StoredRun]:
        runs = self._runs(query)
        for first in range(0, len(runs), AT_ONCE):
            some = runs[first : first + AT_ONCE]
            ids = json.dumps([run_id for run_id, *_ in some])
            tags, params = self._pairs("tags", ids), self._pairs("params", ids)
            metrics = self._metrics(ids)
            for run_id, start_ms, end_ms, status in some:
                known = (tags.get(run_id, {}), params.get(run_id, {}), metrics.get(run_id, {}))
                yield StoredRun(run_id, start_ms or 0, end_ms, status, *known)

    def _runs(self, query: Query) -> list[tuple[str, int | None, int | None, str]]:
        where = ["e.lifecycle_stage = 'active'", "r.lifecycle_stage = ?"]
        values: list[str | int] = ["deleted" if query.deleted else "active"]
        for tag, value in query.tags.items():
            where.append("EXISTS (SELECT 1 FROM tags t WHERE t.key = ? AND t.run_uuid = r.run_uuid AND t.value = ?)")
            values += [tag, value]
        if query.ended_since_ms is not None:
            where.append("(r.end_time IS NULL OR r.status = 'RUNNING' OR r.end_time >= ?)")
            values.append(query.ended_since_ms)
        return self._ask(
            "SELECT r.run_uuid, r.start_time, r.end_time, r.status FROM runs r JOIN experiments e USING (experiment_id)"
            f" WHERE {' AND '.join(where)} ORDER BY r.start_time DESC, r.run_uuid",
            values,
        )

    def _pairs(self, table: str, ids: str) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        rows = self._ask(f"SELECT run_uuid, key, value FROM {table} {OF_THESE}", [ids])
        for run_id, key, value in rows:
            found.setdefault(run_id, {})[key] = value
        return found

    def _metrics(self, ids: str) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        rows = self._ask(f"SELECT run_uuid, key, value, is_nan FROM latest_metrics {OF_THESE}", [ids])
        for run_id, key, value, is_nan in rows:
            found.setdefault(run_id, {})[key] = math.nan if is_nan else value
        return found

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        query = "SELECT step, value, is_nan FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY step, timestamp"
        return [(step, math.nan if nan else value) for step, value, nan in self._ask(query, [run_id, key])]
