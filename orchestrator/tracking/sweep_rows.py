"""Sweeps as MLflow has them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from segsweep.orchestrator.tracking import records
from segsweep.orchestrator.tracking.reading.stored import StoredRun

UID = "segsweep.sweep_uid"  # a tag


@dataclass(frozen=True)
class SweepRow:
    """One sweep, as its MLflow run describes it."""

    name: str
    uid: str  # names repeat in a store that several people share, uids do not
    started_s: float  # since 1970, UTC
    user: str
    host: str
    run_id: str = ""
    revision: str = ""  # of what was sent of it, see records.revision; "" where an older version wrote it
    store: str = ""  # its URI

    def __str__(self) -> str:
        """ "3f2a9c0d1e4b (started 2026-11-21 09:30 by ada on node7)", the time that of this machine."""
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.started_s))
        return f"{self.uid} (started {started} by {self.user or '?'} on {self.host or '?'})"


def sweep_row(run: StoredRun, store: str) -> SweepRow:
    """run: of a sweep."""
    return SweepRow(
        name=run.tags["segsweep.sweep"],
        uid=run.tags[UID],
        started_s=run.start_ms / 1000,
        user=run.tags.get("mlflow.user", ""),
        host=run.params.get("host", ""),
        run_id=run.run_id,
        revision=run.tags.get(records.REVISION) or _revision_by_times(run),
        store=store,
    )


def _revision_by_times(run: StoredRun) -> str:
    """Of a sweep that an older version wrote; "" while it runs."""
    return "" if run.end_ms is None or run.status == "RUNNING" else f"{run.status} {run.end_ms}"
