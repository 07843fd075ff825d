"""Trials on Ray: Ray Tune places them, keeps their workers alive from trial to trial, and notices when one dies.

Tune decides nothing here. Its searcher and scheduler are one bridge to the Sweep; its folder is scratch, and
`Tuner.restore` is never called: a resumed sweep is a new Tune run whose first trials are the unfinished ones.
Each attempt is a Tune trial of its own, so a Tune trial never recovers, pauses or restores.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayTaskError
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper
from ray.util.metrics import Gauge
from ray.util.state import get_log

from segsweep.orchestrator.backends import Steppable, TrialFactory, changes, failed, one_line
from segsweep.orchestrator.backends._gauges import Gauges
from segsweep.orchestrator.backends._hangs import Hangs
from segsweep.orchestrator.backends._live import Live
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.orchestrator.resources.share import Share
from segsweep.orchestrator.space.spec import Resources
from segsweep.trainables.parallel import ProcessLostError
from segsweep.trainables.storage import GIB

log = logging.getLogger(__name__)

CAPACITY_TTL_S = 2.0  # how long a look at the cluster's resources is believed
LOG_LINES, LOG_TIMEOUT_S = 50, 5

# Tune's own ways would write result files nobody reads, print tables, move workers into trial folders and take Ctrl-C.
TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",  # below 10, Tune starts no trial while it waits for an old worker to end
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


class RayTune:
    name = "ray_tune"

    def __init__(self, *, growing: bool = False) -> None:
        """growing: the cluster may add nodes for a trial that waits."""
        self._growing = growing

    def run(self, sweep: Sweep, factory: TrialFactory) -> None:
        """Needs `ray.init` to have happened (segsweep.orchestrator.launching.ray_session)."""
        os.environ.update(TUNE_ENVIRONMENT)
        for name in ("ray.tune.analysis", "ray.tune.execution.tune_controller", "ray.tune.tune"):
            # they miss the result files we switched off, and print the failures that the journal has
            logging.getLogger(name).setLevel(logging.CRITICAL)
        sweep.listen(Gauges(sweep.state))
        resources = sweep.plan.spec.resources
        bridge = Bridge(sweep, waiting=int(self._growing))
        hangs = Hangs(sweep.plan.spec.max_epoch_minutes)
        trainable = tune.with_resources(
            tune.with_parameters(RayTrial, factory=factory, facts_first=bool(sweep.plan.spec.constraints)),
            {"cpu": resources.cpus, "gpu": sweep.share.gpus, "memory": _bytes(sweep.share)},
        )
        with tempfile.TemporaryDirectory(prefix="segsweep-tune-") as scratch:
            tuner = tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    search_alg=Proposals(bridge),
                    scheduler=Decisions(bridge, hangs),
                    num_samples=-1,
                    reuse_actors=True,
                    trial_name_creator=trial_name,
                    trial_dirname_creator=trial_name,
                ),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=scratch,
                    stop=StopWhenAsked(sweep),
                    callbacks=[hangs],
                    failure_config=tune.FailureConfig(max_failures=0),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
                    verbose=0,
                ),
            )
            try:
                tuner.fit()
            finally:
                sweep.interrupted("the sweep was stopped")


def trial_name(trial: Any) -> str:
    """Tune's name of a trial: ours, with the attempt."""
    return repr(trial.config["assignment"])


class Bridge:
    """What Tune's searcher and scheduler share: the sweep, and how many attempts fit on the cluster."""

    def __init__(self, sweep: Sweep, waiting: int) -> None:
        """waiting: attempts that may wait for resources, so that an autoscaler sees the want."""
        self.sweep = sweep
        self._waiting = waiting
        self._capacity = 0
        self._looked_at = 0.0

    def next(self) -> Assignment | None:
        """The next attempt, no earlier than there is room: a proposal made early knows less."""
        if len(self.sweep.running) >= self.capacity():
            return None
        return self.sweep.next()

    def capacity(self) -> int:
        """Attempts that fit at once; looked up now and then, since nodes come and go."""
        if time.monotonic() - self._looked_at > CAPACITY_TTL_S:
            resources = self.sweep.plan.spec.resources
            self._capacity = concurrency(ray.cluster_resources(), resources, self.sweep.share) + self._waiting
            self._looked_at = time.monotonic()
        return min(self._capacity, self.sweep.plan.spec.max_concurrent or self._capacity)


def concurrency(found: Mapping[str, float], resources: Resources, share: Share) -> int:
    """How many trials fit, at least one: a cluster may still be growing, and Ray says what it waits for."""
    capacity = Capacity(int(found.get("CPU", 0)), int(found.get("GPU", 0)), found.get("memory", 0) / GIB)
    return max(1, capacity.concurrency(resources, share))


def _bytes(share: Share) -> int:
    return int(share.memory_gib * GIB)


class Proposals(Live, Searcher):
    """Tune's searcher: hands on what the sweep wants to start."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def suggest(self, trial_id: str) -> Any:
        assignment = self._bridge.next()
        if assignment is not None:
            return {"assignment": assignment}
        return Searcher.FINISHED if self._bridge.sweep.over else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to learn here: Decisions told the sweep."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Never called: a resume is a new Tune run."""


class Decisions(Live, FIFOScheduler):
    """Tune's scheduler: passes results and failures to the sweep and does what it says."""

    def __init__(self, bridge: Bridge, hangs: Hangs) -> None:
        super().__init__()
        self._sweep = bridge.sweep
        self._hangs = hangs

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        assignment: Assignment = trial.config["assignment"]
        facts, epoch = result["segsweep"]
        with self._sweep.journal.together():
            go_on = not facts or self._sweep.facts(assignment, facts)
            if go_on and epoch is not None:
                go_on = self._sweep.report(assignment, *epoch)
        return TrialScheduler.CONTINUE if go_on else TrialScheduler.STOP

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        assignment: Assignment = trial.config["assignment"]
        error = error_of(trial)
        cause = error.cause or error if isinstance(error, RayTaskError) else None
        if reason := self._hangs.reason(trial):
            self._sweep.failed(assignment, reason)
        elif isinstance(cause, ProcessLostError):  # one of several processes that train the trial
            self._sweep.lost(assignment, one_line(cause), str(error))
        elif cause is not None:  # the trial's own exception, as opposed to a worker or node that died
            failed(self._sweep, assignment, cause, str(error))
        else:
            self._sweep.lost(assignment, one_line(error), worker_log(error))


def error_of(trial: Any) -> BaseException:
    """Why a Tune trial failed: Tune leaves the exception in Ray's session folder (launching.ray_session guards it)."""
    try:
        error = ray.cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    except Exception as unreadable:  # the exception's class may not be importable here
        return RuntimeError(f"its worker died ({one_line(unreadable)})")
    return error if isinstance(error, BaseException) else RuntimeError(str(error))


def worker_log(error: BaseException) -> str:
    """What a worker printed last on stderr before it died, such as where it crashed; "" if nobody can tell.

    error: Ray's, of its actor.
    """
    try:
        found = get_log(
            address=ray.get_runtime_context().gcs_address,  # else it looks for a Ray, and there may be several
            actor_id=getattr(error, "actor_id", None),
            suffix="err",
            tail=LOG_LINES,
            timeout=LOG_TIMEOUT_S,
        )
        lines = "".join(found).splitlines()
    except Exception:  # the node may be gone, and half a dozen services in between may say so
        log.debug("no log of a dead worker", exc_info=True)
        return ""
    ours = (line for line in lines if not line.startswith(("Extension modules:", ":")))  # the former is thousands long
    return "\n".join(ours)


class StopWhenAsked(Live, Stopper):
    """Ends the Tune run once the sweep is asked to stop."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._sweep.stopping


class RayTrial(tune.Trainable):
    """A worker: builds the trial that it is assigned, steps it, and is reused for the next one."""

    def setup(self, config: dict[str, Any], factory: TrialFactory, facts_first: bool) -> None:
        """facts_first: a trial may be over by its facts, so they travel alone; else with the first epoch."""
        self._factory = factory
        self._facts_first = facts_first
        self._assignment: Assignment = config["assignment"]
        self._trial: Steppable | None = None
        self._told: dict[str, float | str] = {}  # the facts that the driver has
        self._gauge = Gauge("segsweep_objective", "The objective after the last epoch", tag_keys=("sweep", "trial"))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self._assignment = new_config["assignment"]
        return True

    def step(self) -> dict[str, Any]:
        """One epoch, with the facts that are new; or these alone, before the first, where they may end the trial.

        The trial is built here, not in setup, so that its errors are this trial's and no other's.
        """
        if self._trial is None:
            print(f"{self._assignment.config.label}: attempt {self._assignment.attempt}", flush=True)
            self._trial, self._told = self._factory(self._assignment), {}
            if self._facts_first:
                return {"segsweep": (self._news(self._trial), None)}  # in a tuple: Tune takes mappings apart
        report = self._trial.step()
        value = report.metrics.get(self._assignment.config.objective.metric, float("nan"))
        print(f"{self._assignment.config.label}: epoch {report.epoch}: {value:.4f}", flush=True)
        sweep = self._assignment.folder.parents[1].name
        self._gauge.set(value, tags={"sweep": sweep, "trial": self._assignment.config.label})
        epoch = (report.epoch, dict(report.metrics), report.reason if report.done else "")
        return {"segsweep": (self._news(self._trial), epoch)}

    def _news(self, trial: Steppable) -> dict[str, float | str]:
        """The facts that the driver does not have."""
        news = changes(trial.facts, self._told)
        self._told |= news
        return news

    def cleanup(self) -> None:
        if self._trial is not None:
            self._trial.close()
        self._trial = None
