"""The runs of one sweep in an MLflow store: found or made, then brought up to date. Doing it twice changes nothing."""

from __future__ import annotations

import getpass
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segsweep.orchestrator.mirroring.download import bring
from segsweep.orchestrator.record.journal import SweepCreated
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.tracking import records
from segsweep.orchestrator.tracking.ledger import Ledger
from segsweep.orchestrator.tracking.store import connect, message_of, sqlite_path
from segsweep.orchestrator.tracking.updates import PARENT, RunUpdate, texts

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

PAGE = 1000
DUPLICATE = "duplicate"  # segsweep.kind of a run that is no longer anybody's
REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")  # the user deleted the run: no retry would help
NAME_LENGTH, TAG_LENGTH, PARAM_LENGTH = 250, 8000, 6000  # what MLflow keeps


class Runs:
    def __init__(self, created: SweepCreated, ledger: Ledger) -> None:
        """Connect, and find the sweep's own run or make it. Raises whatever the store raises."""
        self.ledger = ledger
        self._created = created
        self.client: MlflowClient = connect(ledger.uri)
        self.experiment = _experiment(self.client, created.experiment, ledger.uri)
        self._bulk = True
        parent = self._find_parent(created)
        self.found = bool(parent)
        """The sweep's run was there."""
        self._in_doubt = self.found  # some run may have been made without the ledger knowing
        parent = parent or self._make_parent(created)
        self.lost = ledger.offset > 0 and parent != ledger.parent
        """The ledger speaks of another run than the store: all has to be sent again."""
        if parent != ledger.parent:
            ledger.parent, ledger.runs, ledger.owed = parent, {}, []

    def _find_parent(self, created: SweepCreated) -> str:
        query = f"tags.`segsweep.kind` = 'sweep' and tags.`segsweep.sweep_uid` = '{records.sweep_uid(created)}'"
        found = [str(run.info.run_id) for run in self._search(query)]
        return self.ledger.parent if self.ledger.parent in found else next(iter(found), "")

    def _make_parent(self, created: SweepCreated) -> str:
        tags = {**records.sweep_tags(created), **_source_tags(), "segsweep.status": "running"}
        run = self.client.create_run(self.experiment, int(created.time * 1000), tags, created.sweep[:NAME_LENGTH])
        return str(run.info.run_id)

    def send(self, updates: dict[str, RunUpdate]) -> None:
        """Raises whatever the store raises; sending the same again is safe, now or in another process.

        Files are not sent but noted in the ledger as owed: no number waits for one.
        """
        if PARENT in updates:
            self._update(self.ledger.parent, updates[PARENT])
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
        owed = [(trial, file) for trial, update in updates.items() for file in update.files]
        self.ledger.owed = list(dict.fromkeys([*self.ledger.owed, *owed]))

    def mark(self, revision: records.Revision) -> None:
        """After all of it was sent: who reads the runs before this reads them again later."""
        self._update(self.ledger.parent, RunUpdate(revision.time_ms, tags={records.REVISION: str(revision)}))

    def deliver(self, state: SweepState, folder: Path) -> None:
        """Store the files that are owed. Raises whatever the store raises; those that it took are owed no more.

        folder: the sweep's, which may have come from another machine since the paths of its files were recorded.
        """
        from mlflow.exceptions import MlflowException

        while self.ledger.owed:
            trial, file = self.ledger.owed[0]
            try:
                if trial == PARENT:
                    self.client.log_text(self.ledger.parent, texts(state.created or self._created)[file], file)
                elif _is_of_best_epoch(path := _brought(Path(file), trial, folder), state.trials[trial]):
                    self.client.log_artifact(self.ledger.runs[trial], str(path))
            except MlflowException as error:
                if error.error_code not in REFUSALS:
                    raise
                logger.warning("MLflow refuses the file %s: %s", file, message_of(error))
            del self.ledger.owed[0]

    def settle(self) -> int:
        """Put aside second runs of a trial or the sweep, as a call leaves that was given up and came through after all.

        Who may not delete them, because the experiment is somebody else's, leaves them marked. The number of those.
        """
        from mlflow.exceptions import MlflowException

        count = 0
        for run in self._search(f"tags.`segsweep.sweep_uid` = '{records.sweep_uid(self._created)}'"):
            trial, run_id = run.data.tags.get("segsweep.trial_id", PARENT), run.info.run_id
            ours = self.ledger.runs.get(trial, run_id) if trial else self.ledger.parent
            if run_id != ours and run.data.tags["segsweep.kind"] != DUPLICATE:
                logger.info("run %s is a second one of %s", run_id, trial or "the sweep")
                self.client.set_tag(run_id, "segsweep.kind", DUPLICATE)
                try:
                    self.client.delete_run(run_id)
                except MlflowException:
                    count += 1
        return count

    def _find_runs(self, since_ms: int) -> None:
        """Take up the runs that an earlier writer made, and died before it could note them."""
        query = f"tags.`mlflow.parentRunId` = '{self.ledger.parent}' and attributes.start_time >= {since_ms}"
        for run in self._search(query):
            tags = run.data.tags
            if tags.get("segsweep.kind") != DUPLICATE and (trial := tags.get("segsweep.trial_id")):
                self.ledger.runs[trial] = run.info.run_id

    def _search(self, query: str) -> Iterator[Run]:
        token = None
        while True:
            page = self.client.search_runs([self.experiment], query, max_results=PAGE, page_token=token)
            yield from page
            if not (token := page.token):
                return

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
    location = artifact_folder(path.parent, name).as_uri() if path else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        if found := client.get_experiment_by_name(name):  # another sweep was faster
            return str(found.experiment_id)
        raise


def artifact_folder(beside: Path, experiment: str) -> Path:
    """Where an experiment's artifacts lie: one folder of mlruns, whatever the name."""
    return beside / "mlruns" / records.metric_key(experiment).replace("/", "_")


def _brought(file: Path, trial: str, folder: Path) -> Path:
    bring(folder, trial, file.name)
    return file if file.exists() else folder / "trials" / trial / file.name


def _is_of_best_epoch(confusions: Path, trial: TrialState) -> bool:
    """Whether the file is there, whole, and of the epoch that counts: else its worker died before it could report."""
    from segsweep.trainables.scoring.confusions import load_confusions

    try:
        return load_confusions(confusions).epoch == trial.best_epoch
    except FileNotFoundError:
        logger.debug("trial %s left no %s here", trial.id, confusions)
    except Exception as error:
        logger.warning("%s is not stored in MLflow: %s", confusions, message_of(error))
    return False


def _source_tags() -> dict[str, str]:
    return {"mlflow.user": getpass.getuser(), "mlflow.source.name": "segsweep", "mlflow.source.type": "LOCAL"}
