"""One trial after the other in this process: for debuggers, tests and machines without Ray."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from segsweep.orchestrator.backends import Steppable, TrialFactory, changes, failed
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.sweep import Sweep

log = logging.getLogger(__name__)

T = TypeVar("T")


class InProcess:
    name = "in_process"

    def run(self, sweep: Sweep, factory: TrialFactory) -> None:
        try:
            while (assignment := sweep.next()) is not None:
                self._attempt(sweep, assignment, factory)
        except KeyboardInterrupt:
            sweep.interrupt()
        finally:
            sweep.interrupted("the sweep was stopped")

    def _attempt(self, sweep: Sweep, assignment: Assignment, factory: TrialFactory) -> None:
        log.info("%s: attempt %d", assignment.config.label, assignment.attempt)
        try:
            with closing(_of_trial(lambda: factory(assignment))) as trial:
                told = dict(trial.facts)
                if sweep.facts(assignment, told):
                    self._step(sweep, assignment, trial, told)
        except TrialError as error:
            log.info("%s failed", assignment.config.label, exc_info=error.cause)
            failed(sweep, assignment, error.cause, "".join(traceback.format_exception(error.cause)))

    def _step(self, sweep: Sweep, assignment: Assignment, trial: Steppable, told: dict[str, float | str]) -> None:
        while not sweep.stopping:
            report = _of_trial(trial.step)
            if news := changes(trial.facts, told):
                told |= news
                sweep.facts(assignment, news)
            if not sweep.report(assignment, report.epoch, report.metrics, report.reason if report.done else ""):
                return


class TrialError(Exception):
    """The trial's own failure, told from errors of the sweep around it."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


def _of_trial(call: Callable[[], T]) -> T:
    try:
        return call()
    except Exception as error:
        raise TrialError(error) from error
