"""A running sweep: decides what starts, what stops and what is over. Backends ask it; the journal remembers it.

Every decision is journalled before it takes effect, and `_absorb` folds journalled events in the same way whether
they are written now or read back by a resume. So trials, rungs and the searcher's knowledge are the same after a
crash as before it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.confirmation import Repeat
from segsweep.orchestrator.driving.halting import Halt
from segsweep.orchestrator.driving.queue import Queue
from segsweep.orchestrator.driving.spending import Spending, Startable
from segsweep.orchestrator.driving.verdicts import Verdict, explain_stop, verdict_on
from segsweep.orchestrator.planning.allocation import Allotment
from segsweep.orchestrator.planning.plan import Combination, SweepPlan, key_of
from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    AttemptStarted,
    Cause,
    EndStatus,
    EpochDone,
    Event,
    Journal,
    Stop,
    SweepExtended,
    TrialCreated,
    TrialFacts,
    read_events,
)
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.resources.share import Share
from segsweep.orchestrator.schedulers import SCHEDULERS, Scheduler
from segsweep.orchestrator.searchers import SEARCHERS, Searcher

log = logging.getLogger(__name__)

MAX_LOST = 3  # attempts in a row that die without a new epoch: then the configuration is to blame
LOG_TAIL = 4000  # characters that the journal keeps of what a trial left when it crashed

Lost = Literal["", "worker", "driver"]
Listener = Callable[[Event], None]


class Sweep:
    """In this order: who listens, what a backend asks (`next`, `over`), what it tells of an attempt (`facts`, `report`,
    `failed` ...), what ends the sweep (`halt`), and how each of these becomes an event that takes effect (`_absorb`).
    """

    def __init__(
        self, plan: SweepPlan, journal: Journal, *, gpus: float = 0.0, listeners: tuple[Listener, ...] = ()
    ) -> None:
        """Take up the sweep where its journal ends (an empty one: at the beginning).

        journal: <sweep folder>/journal.jsonl; gpus: what one trial gets, until `grant` says otherwise.
        """
        self.plan = plan
        self.journal = journal
        self.folder = journal.path.parent.resolve()  # workers have another current folder
        self.state = SweepState()
        self.halted: Halt | None = None
        self.share = Share(gpus)
        self._listeners = listeners
        self._scheduler, self._searcher = _build_search(plan)
        self.allotment = Allotment(plan)
        self._queue = Queue(self.allotment, self.state, self._scheduler, self._stop, self.record)
        self._verdicts: dict[str, Verdict] = {}  # ends that are due but not journalled yet
        self.spending = Spending(plan, self.state, gpus)
        for event, _ in read_events(journal.path):
            self._absorb(event)

    def listen(self, listener: Listener) -> None:
        """It is told every event from now on, once `state` has it."""
        self._listeners += (listener,)

    def grant(self, share: Share) -> None:
        """What every trial gets from now on."""
        self.share = share
        self.spending.gpus = share.gpus

    # -- what a backend asks ------------------------------------------------------------------------------------

    def next(self) -> Assignment | None:
        """The next attempt to start, or None if nothing can start now (perhaps later, see `over`)."""
        if self.halted is not None:
            return None
        refusal = ""
        for what, cause in self._queue.candidates():
            if refused := self.spending.refusal(what):
                refusal = refused
                self._queue.refused(what.cell)
            else:
                return self._begin(what, cause)
        if refusal:
            for what, cause in self._queue.needed(self.spending):
                if not self.spending.refusal(what):
                    return self._begin(what, cause)
            if not self.running:
                self.halt(Halt(refusal, over_budget=True))
        return None

    @property
    def running(self) -> list[TrialState]:
        return self.state.running

    @property
    def over(self) -> bool:
        """Nothing runs and nothing is left to start."""
        if self.running or self.halted is not None:
            return not self.running
        return self._queue.empty

    @property
    def cut_short(self) -> Halt | None:
        """What ended it before its time. To let running trials finish cuts nothing short if they were the last."""
        if self.halted is None or self.halted.over_budget or self.running or not self._queue.empty:
            return self.halted
        return None

    @property
    def stopping(self) -> bool:
        """Whatever runs shall end now."""
        return self.halted is not None and self.halted.running == "stop"

    def facts(self, assignment: Assignment, facts: Mapping[str, float | str]) -> bool:
        """Record what a worker knows once the trial is built; True if the trial shall go on."""
        trial = self.state.trials[assignment.trial]
        finite = {name: value for name, value in facts.items() if isinstance(value, str) or math.isfinite(value)}
        with self.journal.together():
            self.record(TrialFacts(trial=trial.id, attempt=assignment.attempt, facts=finite))
            self._settle(trial)
        return trial.status == "running"

    def report(self, assignment: Assignment, epoch: int, metrics: Mapping[str, float], done: str = "") -> bool:
        """Record one epoch; True if the trial shall go on. done: the reason if the trial says it has finished."""
        trial = self.state.trials[assignment.trial]
        if epoch > trial.epoch + 1 or assignment.attempt != trial.attempt:  # a bug of ours
            have = f"epoch {trial.epoch} of attempt {trial.attempt}"
            raise RuntimeError(f"trial {trial.id} reported epoch {epoch} of attempt {assignment.attempt} after {have}")
        clean = {name: value if math.isfinite(value) else None for name, value in metrics.items()}  # JSON has no NaN
        event = EpochDone(
            trial=trial.id,
            attempt=assignment.attempt,
            epoch=epoch,
            metrics=clean,
            done=done,
            redone=epoch <= trial.epoch,
        )
        with self.journal.together():
            self.record(event)
            self._settle(trial)
            if trial.status == "running" and (reason := self._no_further_epoch(trial)):
                self._end(trial, "interrupted", reason)
        return trial.status == "running"

    def failed(self, assignment: Assignment, reason: str, log: str = "") -> None:
        """The configuration crashed: its own exception, in one line. log: its traceback, whose tail is kept."""
        self._end(self.state.trials[assignment.trial], "failed", reason, log=log)

    def unsaved(self, assignment: Assignment, reason: str) -> None:
        """Storage took no checkpoint: nothing can go on, and everything can be resumed once there is room."""
        self.halt(Halt(reason))
        self._end(self.state.trials[assignment.trial], "interrupted", reason)

    def unfit(self, assignment: Assignment, reason: str) -> None:
        """Memory does not hold as little as the configuration can be trained on: it is never tried again."""
        trial = self.state.trials[assignment.trial]
        with self.journal.together():
            self.record(TrialFacts(trial=trial.id, attempt=assignment.attempt, facts={"micro_batch": 0.0}))
            self._end(trial, "infeasible", reason)

    def lost(self, assignment: Assignment, reason: str, log: str = "") -> None:
        """The worker died (killed, node gone): tried again from the checkpoint, unless that keeps happening."""
        trial = self.state.trials[assignment.trial]
        times = trial.lost_in_a_row + 1
        if times >= MAX_LOST:
            reason = f"its worker died {times} times without finishing an epoch: {reason}"
            self._end(trial, "failed", reason, log=log)
        else:
            self._end(trial, "interrupted", reason, lost="worker", log=log)

    def interrupt(self) -> None:
        """Ctrl-C. Backends stop what runs and call `interrupted` for it."""
        self.halt(Halt(""))

    def halt(self, halt: Halt) -> None:
        """Start nothing more. What ends at once outweighs what does not; of equals the first one counts."""
        if self.halted is None or (halt.running == "stop" and not self.stopping):
            self.halted = halt

    def interrupted(self, reason: str, *, lost: Lost = "") -> None:
        """Everything that still counts as running is not: a dead driver left it, or the sweep was stopped."""
        for trial in self.running:
            self._settle(trial)
            if trial.status == "running":
                self._end(trial, "interrupted", reason, lost=lost)

    # -- how it decides -----------------------------------------------------------------------------------------

    def _repeat(self, repeat: Repeat) -> TrialState:
        trial_id = self._next_id()
        config, values = repeat.config(trial_id), repeat.of.values
        self.record(TrialCreated(trial=trial_id, config=config, values=values, confirms=repeat.of.id))
        return self.state.trials[trial_id]

    def _next_id(self) -> str:
        return f"{len(self.state.trials) + 1:03d}"

    def _create(self, combination: Combination) -> TrialState:
        index = len(self.state.trials)
        old = self._queue.missing.replaced(combination)
        given = old.values if old else self._queue.missing.known(combination)
        values = self._searcher.propose(combination, index) if given is None else given
        trial_id = self._next_id()
        config = combination.config(trial_id, values)
        self.record(TrialCreated(trial=trial_id, config=config, values=dict(values), anew=old.id if old else ""))
        return self.state.trials[trial_id]

    def _begin(self, what: Startable, cause: Cause) -> Assignment:
        with self.journal.together():
            match what:
                case TrialState():
                    return self._start(what, cause)
                case Repeat():
                    return self._start(self._repeat(what), cause)
                case Combination():
                    return self._start(self._create(what), cause)

    def _start(self, trial: TrialState, cause: Cause) -> Assignment:
        self.record(AttemptStarted(trial=trial.id, attempt=trial.attempt + 1, cause=cause))
        folder = self.folder / "trials" / trial.id
        resources = self.plan.spec.resources
        place = resources.cpus, self.share.gpus, resources.processes
        return Assignment(trial.config, trial.attempt, trial.epoch, folder, *place)

    def _no_further_epoch(self, trial: TrialState) -> str:
        """Why a trial that could go on shall not; "" if it shall."""
        if self.halted is not None and self.halted.running == "save":
            return self.halted.reason
        return self.spending.refusal(trial)

    def _settle(self, trial: TrialState) -> None:
        """Journal the end that the trial's facts or last epoch called for; a driver may have died before it did."""
        if (verdict := self._verdicts.get(trial.id)) is not None:
            self._end(trial, *verdict)

    def _stop(self, trial: TrialState, stop: Stop) -> None:
        """A rung stops a trial that waited at it."""
        self._end(trial, "stopped", explain_stop(stop, trial.config.objective), stop)

    def _end(
        self,
        trial: TrialState,
        status: EndStatus,
        reason: str,
        stop: Stop | None = None,
        *,
        lost: Lost = "",
        log: str = "",
    ) -> None:
        ended = AttemptEnded(trial=trial.id, attempt=trial.attempt, status=status, reason=reason, stop=stop, lost=lost)
        self.record(ended.model_copy(update={"log": log.strip()[-LOG_TAIL:]}))

    def record(self, event: Event) -> None:
        """Journal an event, then let it take effect."""
        written = self.journal.append(event)
        self._absorb(written)
        for listener in self._listeners:
            try:
                listener(written)
            except Exception:  # a broken view is no reason to lose a sweep
                log.exception("a listener failed")

    def _absorb(self, event: Event) -> None:
        self.state.apply(event)
        self._queue.absorb(event)
        match event:
            case SweepExtended():
                self._verdicts.clear()  # as far as a longer limit changes them, the next epoch gives new ones
            case TrialCreated() if not event.confirms:
                self._searcher.recall(self.plan.by_key[key_of(event.config)], event.trial, event.values)
            case TrialFacts() | EpochDone():
                verdict = verdict_on(self.state.trials[event.trial], event, self._scheduler, self.plan.spec.aim)
                if verdict is not None:
                    self._verdicts[event.trial] = verdict
            case AttemptEnded():
                self._verdicts.pop(event.trial, None)
                trial = self.state.trials[event.trial]
                if not trial.confirms and not trial.due_again(self.plan.spec.max_failures):
                    self._searcher.observe(trial)


def _build_search(plan: SweepPlan) -> tuple[Scheduler, Searcher]:
    spec = plan.spec
    scheduler, searcher = SCHEDULERS.get(spec.scheduler.type), SEARCHERS.get(spec.searcher.type)
    scheduler_options: Any = scheduler.Options(**spec.scheduler.options)
    searcher_options: Any = searcher.Options(**spec.searcher.options)
    return scheduler.build(scheduler_options, spec.epochs), searcher.build(searcher_options, spec.aim)
