"""Trials as MLflow has them, whoever ran them: what the leaderboard and `best` read."""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.tracking import records
from segsweep.orchestrator.tracking.reading.opening import open_store
from segsweep.orchestrator.tracking.reading.stored import Query, StoredRun
from segsweep.orchestrator.tracking.store import check, connect
from segsweep.orchestrator.tracking.sweep_rows import UID, SweepRow, sweep_row
from segsweep.trainables.config import Objective, TrialConfig
from segsweep.trainables.metric_names import TEST, VAL, is_class_iou, metric_named, over_epochs

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from segsweep.trainables.scoring.confusions import Confusions

logger = logging.getLogger(__name__)

KIND = "segsweep.kind"
MATRICES = {"val": "segsweep.confusions", "test": "segsweep.test_confusions"}  # tags


class Setup(NamedTuple):
    """What decides whether two trials compare; of its configuration, which takes longer to read."""

    objective: str  # metric
    evaluation: str
    epochs: int

    @classmethod
    def of(cls, config_text: str) -> Setup | None:
        try:
            config = TrialConfig.model_validate_json(config_text)
        except ValueError:
            logger.debug("a configuration of another version", exc_info=True)
            return None
        return cls(config.objective.metric, str(config.evaluation), config.epochs)


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
    metrics: Mapping[str, float] = field(default_factory=dict)  # the last values, by MLflow's keys; no IoUs of classes
    params_text: str = "{}"  # JSON
    config_text: str = ""  # JSON of TrialConfig
    ious_text: str = "[]"  # JSON: MLflow's keys of the classes' IoUs, whose values are in the history
    setup: Setup | None = None  # None if another version wrote it
    allocation: str = "even"  # of its sweep's trials
    confirms: str = ""  # the trial of its sweep that it repeats with another seed
    test: float | None = None  # the asked metric on the test split
    licence: str = ""  # of the weights that it began with; "" without any
    device: str = ""  # host and device that it ran on
    matrices: Mapping[str, str] = field(default_factory=dict)  # split -> where its worker wrote the images' matrices

    @cached_property
    def params(self) -> Mapping[str, str]:
        params: dict[str, str] = json.loads(self.params_text)
        return params

    @property
    def metric_names(self) -> list[str]:
        """Of all metrics that it has a value of."""
        return [records.metric_name(key) for key in (*self.metrics, *json.loads(self.ious_text))]

    @cached_property
    def config(self) -> TrialConfig | None:
        """None if another version wrote it."""
        try:
            return TrialConfig.model_validate_json(self.config_text)
        except ValueError:
            logger.debug("a configuration of another version", exc_info=True)
            return None

    @property
    def evaluation(self) -> str:
        """How it was scored; "" if another version wrote it."""
        return self.setup.evaluation if self.setup else ""

    @property
    def epochs(self) -> str:
        """ "100 epochs", the limit; "" unless it finished: a trial that was extended and superseded has another."""
        return f"{self.setup.epochs} epochs" if self.setup and self.status == "finished" else ""


class Reader:
    def __init__(self, uri: str) -> None:
        """Raises InputError if the store does not answer; a SQLite file that is not there is not made."""
        self.uri = uri
        self._store = open_store(uri)

    def sweeps(self) -> list[SweepRow]:
        """All sweeps, the newest first."""
        return [sweep_row(run, self.uri) for run in self._store.search(Query({KIND: "sweep"}))]

    def deleted(self) -> dict[str, list[str]]:
        """The runs of trials that were deleted, by their sweep's uid."""
        found: dict[str, list[str]] = {}
        for kind in ("trial", "confirm", "duplicate"):
            for run in self._store.search(Query({KIND: kind}, deleted=True)):
                found.setdefault(run.tags.get(UID, ""), []).append(run.run_id)
        return {uid: sorted(runs) for uid, runs in found.items()}

    def provenance(self, sweep_uid: str) -> Mapping[str, str]:
        """Versions, commit, command and hardware of a sweep, by dotted path; {} for one that is not here."""
        return next((run.params for run in self._store.search(Query({KIND: "sweep", UID: sweep_uid}))), {})

    def runs(self, sweep_uid: str, ended_since_ms: int | None = None) -> list[StoredRun]:
        """Those of a sweep's trials; see Query."""
        found = self._store.search(Query({UID: sweep_uid}, ended_since_ms))
        return [run for run in found if run.tags[KIND] in ("trial", "confirm")]

    def trials(
        self,
        *,
        metric: str = Objective().metric,
        sweep_uid: str | None = None,
        dataset: str | None = None,
        kind: str = "trial",
    ) -> list[TrialRow]:
        """Every trial that fits, the newest first."""
        tags = {KIND: kind, UID: sweep_uid, "segsweep.dataset": dataset}
        query = Query({tag: value for tag, value in tags.items() if value is not None})
        return [self._row(run, metric) for run in self._store.search(query)]

    def _row(self, run: StoredRun, metric: str) -> TrialRow:
        text = records.long_text("segsweep.config", run.tags) or ""
        metrics, ious = without_ious(run.metrics)
        texts = Texts(text, json.dumps(run.params), json.dumps(ious))
        return trial_row(run._replace(metrics=metrics), metric, texts, Setup.of(text), self.over_epochs)

    def over_epochs(self, run_id: str, metric: str, best_epoch: int) -> float | None:
        """A trial's value of a metric that only its history tells: IoUs of classes, and the costs of epochs."""
        points = self._store.history(run_id, records.metric_key(metric))
        history = {step: number(value) for step, value in points}
        values = [history.get(epoch) for epoch in range(1, max(history, default=0) + 1)]
        return over_epochs(metric, values, best_epoch) if best_epoch <= len(values) else None

    def history(self, run_id: str, metric: str) -> dict[int, float | None]:
        """By epoch."""
        return {step: number(value) for step, value in self._store.history(run_id, records.metric_key(metric))}

    @cached_property
    def _client(self) -> MlflowClient:
        check(self.uri)
        return connect(self.uri)

    def checkpoint(self, run_id: str) -> str:
        """The file of a trial's best epoch, on whatever machine trained it. Raises InputError for other runs."""
        client = self._client
        from mlflow.exceptions import MlflowException

        tags: Mapping[str, str] = {}
        with suppress(MlflowException):
            tags = client.get_run(run_id).data.tags
        if "segsweep.checkpoint" not in tags:
            store = f"{self.uri} (tracking.uri, --tracking-uri or MLFLOW_TRACKING_URI names another store)"
            remedy = "`segsweep best` prints run ids; or name its best.pt"
            raise InputError(f"no run of a trial '{run_id}' in {store}; {remedy}")
        return tags["segsweep.checkpoint"]

    def confusions(self, row: TrialRow, split: str) -> Confusions | None:
        """Of every image of val or test: the worker's file, else the artifact; None if neither can be had."""
        from segsweep.trainables.scoring.confusions import load_confusions

        if (path := row.matrices.get(split)) is None:
            return None
        try:
            return load_confusions(Path(path))
        except (OSError, ValueError):
            logger.debug("%s is not here", path, exc_info=True)
        client = self._client
        from mlflow.exceptions import MlflowException

        try:
            with tempfile.TemporaryDirectory() as folder:
                return load_confusions(Path(client.download_artifacts(row.run_id, Path(path).name, folder)))
        except (MlflowException, OSError, ValueError) as error:
            logger.debug("run %s: %s", row.run_id, error)
            return None


class OverEpochs(Protocol):
    def __call__(self, run_id: str, metric: str, best_epoch: int) -> float | None: ...


class Texts(NamedTuple):
    """What few trials are asked for, as JSON: decoding that of thousands takes longer than all the rest."""

    config: str
    params: str
    ious: str


def without_ious(metrics: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
    """Metrics by their keys, and the keys of the classes' IoUs that were among them."""
    ious = sorted(key for key in metrics if is_class_iou(records.metric_name(key)))
    return {key: value for key, value in metrics.items() if key not in ious}, ious


def trial_row(run: StoredRun, metric: str, texts: Texts, setup: Setup | None, over_epochs: OverEpochs) -> TrialRow:
    """What a run says of its trial; its metrics are without the classes' IoUs."""
    tags, metrics = run.tags, run.metrics
    best_epoch = metrics.get("best_epoch")
    return TrialRow(
        sweep=tags["segsweep.sweep"],
        sweep_uid=tags.get(UID, ""),
        trial_id=tags["segsweep.trial_id"],
        run_id=run.run_id,
        dataset=tags["segsweep.dataset"],
        model=tags["segsweep.model"],
        architecture=tags.get("segsweep.architecture", ""),
        encoder=tags.get("segsweep.encoder", ""),
        status=tags.get("segsweep.status", "running"),
        stop_reason=tags.get("segsweep.stop_reason", ""),
        value=_value(run, metric, over_epochs, texts.ious),
        best_epoch=None if best_epoch is None else int(best_epoch),
        params_m=metrics.get("params_m"),
        gmacs=metrics.get("gmacs"),
        gpu_s=metrics.get("gpu_s", 0.0),
        cpu_s=metrics.get("cpu_s", 0.0),
        checkpoint=tags.get("segsweep.checkpoint", ""),
        data_fingerprint=tags.get("segsweep.data_fingerprint", ""),
        metrics=metrics,
        params_text=texts.params,
        config_text=texts.config,
        ious_text=texts.ious,
        setup=setup,
        allocation=tags.get("segsweep.allocation", "even"),
        confirms=tags.get("segsweep.confirms", ""),
        test=_value(run, TEST + metric.removeprefix(VAL), over_epochs) if metric.startswith(VAL) else None,
        licence=tags.get("segsweep.weights_licence", ""),
        device=f"{tags.get('segsweep.host', '')} {tags.get('segsweep.device', '')}",
        matrices={split: tags[tag] for split, tag in MATRICES.items() if tag in tags},
    )


def _value(run: StoredRun, metric: str, over_epochs: OverEpochs, ious: str = "[]") -> float | None:
    """The trial's value of the metric."""
    metrics, (key, once) = run.metrics, _key_of(metric)
    if once:
        return number(metrics.get(key))
    if (best := f"best_{key}") in metrics:
        return number(metrics[best])
    known = key in (json.loads(ious) if is_class_iou(metric) else metrics)
    if not known or "best_epoch" not in metrics:
        return None
    return over_epochs(run.run_id, metric, int(metrics["best_epoch"]))


@lru_cache
def _key_of(metric: str) -> tuple[str, bool]:
    """MLflow's key, and whether a trial has just one value."""
    return records.metric_key(metric), metric_named(metric).per_trial or metric.startswith(TEST)


def number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
