"""Trials as MLflow has them, whoever ran them: what the leaderboard and `best` read."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.tracking import records
from segsweep.orchestrator.tracking.store import check, connect, sqlite_path
from segsweep.trainables.config import Objective, TrialConfig
from segsweep.trainables.metric_names import TEST, VAL, metric_named, over_epochs
from segsweep.trainables.scoring.confusions import Confusions, load_confusions

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

PAGE = 1000
MATRICES = {"val": "segsweep.confusions", "test": "segsweep.test_confusions"}  # tags


@dataclass(frozen=True)
class SweepRow:
    """One sweep, as its MLflow run describes it."""

    name: str
    uid: str  # names repeat in a store that several people share, uids do not
    started_s: float  # since 1970, UTC
    user: str
    host: str

    def __str__(self) -> str:
        """ "3f2a9c0d1e4b (started 2026-11-21 09:30 by ada on node7)", the time that of this machine."""
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.started_s))
        return f"{self.uid} (started {started} by {self.user or '?'} on {self.host or '?'})"


@dataclass(frozen=True)
class TrialRow:
    """One trial, or one confirmation, as its MLflow run describes it."""

    sweep: str
    sweep_uid: str
    trial_id: str
    run_id: str
    dataset: str
    model: str
    architecture: str
    encoder: str
    status: str  # running, finished, stopped, failed, infeasible, interrupted
    stop_reason: str
    value: float | None  # the asked metric after best_epoch
    best_epoch: int | None  # of the objective
    params_m: float | None
    gmacs: float | None
    gpu_s: float
    cpu_s: float
    checkpoint: str
    data_fingerprint: str  # of the pixels it was trained and scored on; "" if it was never built
    metrics: frozenset[str]  # what can be asked for
    params: Mapping[str, str]
    config: TrialConfig | None  # None if another version wrote it
    allocation: str = "even"  # of its sweep's trials
    confirms: str = ""  # the trial of its sweep that it repeats with another seed
    test: float | None = None  # the asked metric on the test split
    matrices: Mapping[str, str] = field(default_factory=dict)  # split -> where its worker wrote the images' matrices

    @property
    def evaluation(self) -> str:
        """How it was scored; "" if another version wrote it."""
        return str(self.config.evaluation) if self.config else ""

    @property
    def epochs(self) -> str:
        """ "100 epochs", the limit; "" unless it finished: a trial that was extended and superseded has another."""
        return f"{self.config.epochs} epochs" if self.config and self.status == "finished" else ""


class Reader:
    def __init__(self, uri: str) -> None:
        """Raises InputError if the store does not answer; a SQLite file that is not there is not made."""
        path = sqlite_path(uri)
        if path is not None and not path.is_file():
            remedy = "run `segsweep launch FILE`, or name the store with --tracking-uri"
            raise InputError(Mistake(f"tracking URI {uri}", f"there is no such file yet; {remedy}"))
        check(uri)
        self.uri = uri
        self._client: MlflowClient = connect(uri)

    def sweeps(self) -> list[SweepRow]:
        """All sweeps, the newest first."""
        return [_sweep_row(run) for run in self._runs("tags.`segsweep.kind` = 'sweep'")]

    def checkpoint(self, run_id: str) -> str:
        """The file of a trial's best epoch, on whatever machine trained it. Raises InputError for other runs."""
        from mlflow.exceptions import MlflowException

        tags: Mapping[str, str] = {}
        with suppress(MlflowException):
            tags = self._client.get_run(run_id).data.tags
        if "segsweep.checkpoint" not in tags:
            store = f"{self.uri} (tracking.uri, --tracking-uri or MLFLOW_TRACKING_URI names another store)"
            remedy = "`segsweep best` prints run ids; or name its best.pt"
            raise InputError(f"no run of a trial '{run_id}' in {store}; {remedy}")
        return tags["segsweep.checkpoint"]

    def confusions(self, row: TrialRow, split: str) -> Confusions | None:
        """Of every image of val or test: the worker's file, else the artifact; None if neither can be had."""
        from mlflow.exceptions import MlflowException

        if (path := row.matrices.get(split)) is None:
            return None
        try:
            return load_confusions(Path(path))
        except (OSError, ValueError):
            logger.debug("%s is not here", path, exc_info=True)
        try:
            with tempfile.TemporaryDirectory() as folder:
                return load_confusions(Path(self._client.download_artifacts(row.run_id, Path(path).name, folder)))
        except (MlflowException, OSError, ValueError) as error:
            logger.debug("run %s: %s", row.run_id, error)
            return None

    def trials(
        self,
        *,
        metric: str = Objective().metric,
        sweep_uid: str | None = None,
        dataset: str | None = None,
        kind: str = "trial",
    ) -> list[TrialRow]:
        """Every trial that fits, read page by page, the newest first."""
        query = f"tags.`segsweep.kind` = '{kind}'"
        query += _equals("segsweep.sweep_uid", sweep_uid) + _equals("segsweep.dataset", dataset)
        rows = (self._row(run, metric) for run in self._runs(query))
        return [row for row in rows if sweep_uid in (None, row.sweep_uid) and dataset in (None, row.dataset)]

    def _runs(self, query: str) -> Iterator[Run]:
        experiments = [e.experiment_id for e in self._client.search_experiments(max_results=50_000)]
        token = None
        while experiments:
            page = self._client.search_runs(experiments, query, max_results=PAGE, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def _row(self, run: Run, metric: str) -> TrialRow:
        tags, metrics = run.data.tags, run.data.metrics
        best_epoch = metrics.get("best_epoch")
        return TrialRow(
            sweep=tags["segsweep.sweep"],
            sweep_uid=tags.get("segsweep.sweep_uid", ""),
            trial_id=tags["segsweep.trial_id"],
            run_id=run.info.run_id,
            dataset=tags["segsweep.dataset"],
            model=tags["segsweep.model"],
            architecture=tags.get("segsweep.architecture", ""),
            encoder=tags.get("segsweep.encoder", ""),
            status=tags.get("segsweep.status", "running"),
            stop_reason=tags.get("segsweep.stop_reason", ""),
            value=self._value(run, metric, best_epoch),
            best_epoch=None if best_epoch is None else int(best_epoch),
            params_m=metrics.get("params_m"),
            gmacs=metrics.get("gmacs"),
            gpu_s=metrics.get("gpu_s", 0.0),
            cpu_s=metrics.get("cpu_s", 0.0),
            checkpoint=tags.get("segsweep.checkpoint", ""),
            data_fingerprint=tags.get("segsweep.data_fingerprint", ""),
            metrics=frozenset(records.metric_name(key) for key in metrics if not key.startswith("best_val")),
            params=dict(run.data.params),
            config=_config(tags),
            allocation=tags.get("segsweep.allocation", "even"),
            confirms=tags.get("segsweep.confirms", ""),
            test=self._value(run, TEST + metric.removeprefix(VAL), None) if metric.startswith(VAL) else None,
            matrices={split: tags[tag] for split, tag in MATRICES.items() if tag in tags},
        )

    def _value(self, run: Run, metric: str, best_epoch: float | None) -> float | None:
        """The trial's value of the metric. Class IoUs and the costs of epochs are looked up in the run's history."""
        metrics: dict[str, Any] = run.data.metrics
        key = records.metric_key(metric)
        if metric_named(metric).per_trial or metric.startswith(TEST):
            return _number(metrics.get(key))
        if f"best_{key}" in metrics:
            return _number(metrics[f"best_{key}"])
        if key not in metrics or best_epoch is None:
            return None
        history = {point.step: _number(point.value) for point in self._client.get_metric_history(run.info.run_id, key)}
        values = [history.get(epoch) for epoch in range(1, max(history) + 1)]
        return over_epochs(metric, values, int(best_epoch)) if best_epoch <= len(values) else None


def _sweep_row(run: Run) -> SweepRow:
    tags = run.data.tags
    return SweepRow(
        name=tags["segsweep.sweep"],
        uid=tags["segsweep.sweep_uid"],
        started_s=run.info.start_time / 1000,
        user=tags.get("mlflow.user", ""),
        host=run.data.params.get("host", ""),
    )


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _equals(tag: str, value: str | None) -> str:
    """A condition on a tag; none for a value that MLflow's grammar cannot quote (the caller compares again)."""
    return f" and tags.`{tag}` = '{value}'" if value and "'" not in value else ""


def _config(tags: Mapping[str, str]) -> TrialConfig | None:
    try:
        return TrialConfig.model_validate_json(records.long_text("segsweep.config", tags) or "")
    except ValueError:
        logger.debug("a configuration of another version", exc_info=True)
        return None
