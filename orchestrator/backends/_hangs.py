"""Ends trials that give no epoch within a limit: their worker is killed, whatever it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial

from segsweep.orchestrator.backends._live import Live

LOOKS_EVERY_S = 1.0


class Hangs(Live, Callback):
    """Tune's callback: adds up how long each worker has been without an epoch, its set-up included.

    Time in which the driver itself was held up does not count: what the workers reported meanwhile still waits.
    """

    def __init__(
        self,
        limit_minutes: float | None,
        kill: Callable[[Any], None] = ray.kill,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """kill: ends the process of an actor; limit_minutes: None for none."""
        self._limit_minutes = limit_minutes
        self._kill = kill
        self._clock = clock
        self._looked_at = clock()
        self._without_epoch_s: dict[str, float] = {}  # by Tune's id of the trial
        self._ended: set[str] = set()

    def reason(self, trial: Any) -> str:
        """Why the trial's worker was killed here; "" if it was not."""
        if trial.trial_id not in self._ended:
            return ""
        return f"no epoch within {self._limit_minutes:g} min (max_epoch_minutes)"

    def on_step_begin(self, iteration: int, trials: Iterable[Any], **info: Any) -> None:
        passed_s = self._clock() - self._looked_at
        if self._limit_minutes is None or passed_s < LOOKS_EVERY_S:
            return
        self._looked_at += passed_s
        working = [trial for trial in trials if trial.temporary_state.ray_actor is not None and _alive(trial)]
        before = self._without_epoch_s
        seen_s = min(passed_s, 2 * LOOKS_EVERY_S)
        self._without_epoch_s = {trial.trial_id: before.get(trial.trial_id, 0.0) + seen_s for trial in working}
        for trial in working:
            if self._without_epoch_s[trial.trial_id] > 60 * self._limit_minutes and trial.trial_id not in self._ended:
                self._ended.add(trial.trial_id)
                self._kill(trial.temporary_state.ray_actor)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        _, epoch = result["segsweep"]
        if epoch is not None:
            self._without_epoch_s.pop(trial.trial_id, None)


def _alive(trial: Any) -> bool:
    return trial.status in (TuneTrial.PENDING, TuneTrial.RUNNING)  # pending: a used worker is being reset for it
