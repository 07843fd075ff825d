"""One trial after the other in this process: for debuggers, tests and machines without Ray."""

from __future__ import annotations

import logging

from segsweep.orchestrator.backends import Steppable, TrialFactory, one_line
from segsweep.orchestrator.sweep import Assignment, Sweep

log = logging.getLogger(__name__)


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
        trial: Steppable | None = None
        try:
            trial = factory(assignment)
            sweep.facts(assignment, trial.facts)
            while not sweep.stopping:
                report = trial.step()
                if not sweep.report(assignment, report.epoch, report.metrics, report.reason if report.done else ""):
                    return
        except Exception as error:
            log.exception("%s failed", assignment.config.label)
            sweep.failed(assignment, one_line(error))
        finally:
            if trial is not None:
                trial.close()
