"""What a network costs: arithmetic and time, measured once in a process: most trials of a sweep have one of a few."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segsweep.trainables.config import TrialConfig

if TYPE_CHECKING:
    from segsweep.trainables.training.epoch import Place
    from segsweep.trainables.training.experiment import Experiment

WARM_UPS = 2  # forward passes before those that are timed: kernels are chosen, memory is allocated
PASSES = 3, 15  # at least and at most how many are timed
ENOUGH_MS = 200.0  # no further ones after so long: a large image on a CPU takes seconds

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


def gmacs(model: nn.Module, image_size: tuple[int, int], device: torch.device, in_channels: int = 3) -> float:
    """10^9 multiply-accumulates of one forward pass over one image of `image_size`; a multiply-add counts once."""
    model.eval()
    with torch.compiler.set_stance("force_eager"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, in_channels, *image_size, device=device))
    return float(counter.get_total_flops()) / 2 / 1e9


def latency_ms(model: nn.Module, image_size: tuple[int, int], device: torch.device) -> float:
    """Median time of one forward pass over one image of `image_size`, batch 1, in evaluation mode on `device`.

    Other trials on the same device or cores slow it down; the median leaves out what only some passes suffer.
    """
    model.eval()
    image = torch.zeros(1, 3, *image_size, device=device)
    took_ms: list[float] = []
    with torch.inference_mode():
        for _ in range(WARM_UPS):
            model(image)
        while len(took_ms) < PASSES[0] or (len(took_ms) < PASSES[1] and sum(took_ms) < ENOUGH_MS):
            _wait_for(device)
            began = time.perf_counter()
            model(image)
            _wait_for(device)
            took_ms.append(1000 * (time.perf_counter() - began))
    return statistics.median(took_ms)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":  # where calls return before the work is done
        torch.cuda.synchronize(device)
