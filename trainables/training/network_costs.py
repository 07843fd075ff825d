"""What a network costs, measured once in a process: most trials of a sweep have one of a few networks."""

from __future__ import annotations

import json
from collections.abc import Callable

from segsweep.trainables.config import TrialConfig
from segsweep.trainables.training.epoch import Place
from segsweep.trainables.training.experiment import Experiment, gmacs, latency_ms

_MEASURED: dict[tuple[object, ...], float] = {}


def network_costs(it: Experiment, config: TrialConfig, place: Place, *, timed: bool) -> dict[str, float]:
    """`gmacs` and, if timed, `latency_ms` of the experiment's network.

    As an earlier trial of this process measured them of an equal network, computed in the same way; else measured now.
    """
    model, size, device = it.learner.model, config.image_size, place.device
    arithmetic = config.precision, config.channels_last, config.compile
    network = config.model.type, json.dumps(config.model.options, sort_keys=True), len(it.classes), size
    key = *network, *arithmetic, str(device), place.cpus

    def latency() -> float:
        with it.learner.arithmetic():
            return latency_ms(model, size, device)

    costs = {"gmacs": _once(("gmacs", *key), lambda: gmacs(model, size, device))}
    if timed:
        costs["latency_ms"] = _once(("latency_ms", *key), latency)
    return costs


def _once(what: tuple[object, ...], measure: Callable[[], float]) -> float:
    if what not in _MEASURED:
        _MEASURED[what] = measure()
    return _MEASURED[what]
