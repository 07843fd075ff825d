"""The runs of one sweep in an MLflow store: found or made, then brought up to date. Doing it twice changes nothing."""

from __future__ import annotations

import getpass
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segsweep.orchestrator.record.journal import SweepCreated
from segsweep.orchestrator.tracking import records
from segsweep.orchestrator.tracking.ledger import Ledger
from segsweep.orchestrator.tracking.store import connect, message_of, sqlite_path
from segsweep.orchestrator.tracking.updates import PARENT, RunUpdate

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

PAGE = 1000
REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")  # the user deleted the run: no retry would help
NAME_LENGTH, TAG_LENGTH, PARAM_LENGTH = 250, 8000, 6000  # what MLflow keeps


class Runs:
    def __init__(self, created: SweepCreated, ledger: Ledger) -> None:
        """Connect, and find the sweep's own run or make it. Raises whatever the store raises."""
        self.ledger = ledger
        self.client: MlflowClient = connect(ledger.uri)
        self.experiment = _experiment(self.client, created.experiment, ledger.uri)
        self._bulk = True
        self._in_doubt = True  # some run may have been made without the ledger knowing
        parent = self._find_parent(created)
        if not parent:
            parent, self._in_doubt = self._make_parent(created), False
        self.lost = ledger.offset > 0 and parent != ledger.parent
        """The ledger speaks of another run than the store: all has to be sent again."""
        if parent != ledger.parent:
            ledger.parent, ledger.runs, ledger.artifacts = parent, {}, []

    def _find_parent(self, created: SweepCreated) -> str:
        query = f"tags.`segsweep.kind` = 'sweep' and tags.`segsweep.sweep_uid` = '{records.sweep_uid(created)}'"
        found = self.client.search_runs([self.experiment], query, max_results=1)
        return str(found[0].info.run_id) if found else ""

    def _make_parent(self, created: SweepCreated) -> str:
        tags = {**records.sweep_tags(created), **_source_tags(), "segsweep.status": "running"}
        run = self.client.create_run(self.experiment, int(created.time * 1000), tags, created.sweep[:NAME_LENGTH])
        return str(run.info.run_id)

    def send(self, updates: dict[str, RunUpdate]) -> None:
        """Raises whatever the store raises; sending the same again is safe, now or in another process."""
        if PARENT in updates:
            self._send_parent(updates[PARENT])
        unknown = {trial: u for trial, u in updates.items() if trial and trial not in self.ledger.runs}
        known = {trial: u for trial, u in updates.items() if trial and trial not in unknown}
        if unknown and self._in_doubt:
            self._find_runs(min(update.start_ms for update in unknown.values()))
        known |= {trial: unknown.pop(trial) for trial in list(unknown) if trial in self.ledger.runs}
        for trial, update in known.items():
            self._update(self.ledger.runs[trial], update)
        self._in_doubt = bool(unknown)  # until all of them are made and the ledger knows it
        self._make(unknown)
        self._in_doubt = False
        for trial, update in updates.items():
            if trial and update.confusions:
                self._attach(trial, Path(update.confusions), update.best_epoch)

    def _attach(self, trial: str, confusions: Path, best_epoch: int | None) -> None:
        """Copy the matrices of a trial's best epoch to its run; a trial without them is no reason to stop."""
        from segsweep.trainables.confusions import load_confusions

        try:
            if load_confusions(confusions).epoch == best_epoch:  # else its worker was killed before it could report
                self.client.log_artifact(self.ledger.runs[trial], str(confusions))
        except FileNotFoundError:
            logger.debug("trial %s left no %s here", trial, confusions)
        except Exception as error:
            logger.warning("MLflow did not take %s: %s", confusions, message_of(error))

    def _find_runs(self, since_ms: int) -> None:
        """Take up the runs that an earlier writer made, and died before it could note them."""
        query = f"tags.`mlflow.parentRunId` = '{self.ledger.parent}' and attributes.start_time >= {since_ms}"
        token = None
        while True:
            page = self.client.search_runs([self.experiment], query, max_results=PAGE, page_token=token)
            for run in page:
                if trial := run.data.tags.get("segsweep.trial_id"):
                    self.ledger.runs[trial] = run.info.run_id
            if not (token := page.token):
                return

    def _send_parent(self, update: RunUpdate) -> None:
        self._update(self.ledger.parent, update)
        for name, text in update.artifacts.items():
            if name in self.ledger.artifacts:
                continue
            try:
                self.client.log_text(self.ledger.parent, text, name)
                self.ledger.artifacts.append(name)
            except Exception as error:  # no reason to hold back every number; the YAML is in a tag as well
                logger.warning("MLflow did not take the artifact %s: %s", name, message_of(error))

    def _make(self, updates: dict[str, RunUpdate]) -> None:
        """New runs, each with all that is known of it."""
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        store = self._store
        if self._bulk and len(updates) > 1 and type(store) is SqlAlchemyStore:
            from segsweep.orchestrator.tracking import bulk

            if (made := bulk.insert(store, self.experiment, self._with_tags(updates))) is not None:
                self.ledger.runs |= made
                return
            self._bulk = False
        for trial, update in self._with_tags(updates).items():
            run = self.client.create_run(self.experiment, update.start_ms, update.tags, update.name)
            self.ledger.runs[trial] = run.info.run_id
            update.tags = {}
            self._update(run.info.run_id, update, status="RUNNING")

    def _with_tags(self, updates: dict[str, RunUpdate]) -> dict[str, RunUpdate]:
        for update in updates.values():
            tags = {**update.tags, **_source_tags(), "mlflow.parentRunId": self.ledger.parent}
            update.tags = {key: value[:TAG_LENGTH] for key, value in tags.items()}
            update.params = {key: value[:PARAM_LENGTH] for key, value in update.params.items()}
            update.name = update.name[:NAME_LENGTH]
        return updates

    def _update(self, run_id: str, update: RunUpdate, status: str = "") -> None:
        """status: what the run has now, if known: spares a call that would change nothing."""
        from mlflow.entities import Metric, Param, RunStatus, RunTag
        from mlflow.exceptions import MlflowException

        metrics = [Metric(point.key, point.value, point.time_ms, point.step) for point in update.points]
        params = [Param(key, value[:PARAM_LENGTH]) for key, value in update.params.items()]
        tags = [RunTag(key, value[:TAG_LENGTH]) for key, value in update.tags.items()]
        try:
            self._log_batch(run_id, metrics, params, tags)
            if update.status not in (None, status):
                # The client's call takes no end time for a run that goes on, and prints links for one that ends.
                self._store.update_run_info(run_id, RunStatus.from_string(update.status), update.end_ms, None)
        except MlflowException as error:
            if error.error_code not in REFUSALS:
                raise
            logger.warning("MLflow refuses results of run %s: %s", run_id, message_of(error))

    def _log_batch(self, run_id: str, metrics: list[Any], params: list[Any], tags: list[Any]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.log_batch(run_id, metrics, params, tags)
        except MlflowException as error:
            if error.error_code not in REFUSALS or not params:
                raise
            self.client.log_batch(run_id, metrics, [], tags)  # another version filled in other defaults: those stay

    @property
    def _store(self) -> Any:
        return self.client._tracking_client.store


def _experiment(client: MlflowClient, name: str, uri: str) -> str:
    """The experiment's id; made where it is missing, with artifacts beside a SQLite file as MLflow itself does it."""
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    path = sqlite_path(uri)
    location = (path.parent / "mlruns" / records.metric_key(name).replace("/", "_")).as_uri() if path else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        if found := client.get_experiment_by_name(name):  # another sweep was faster
            return str(found.experiment_id)
        raise


def _source_tags() -> dict[str, str]:
    return {"mlflow.user": getpass.getuser(), "mlflow.source.name": "segsweep", "mlflow.source.type": "LOCAL"}
