"""What every trial of a plan gets of a machine, as far as memory decides it, and why: for plans and before launches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.orchestrator.resources.memory_probe import demanding, label
from segsweep.orchestrator.resources.packing import host_gib, share, trials_a_gpu
from segsweep.orchestrator.resources.share import Share
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.plurals import counted
from segsweep.trainables.training.footprints import Footprint

Probe = Callable[[Sequence[TrialConfig]], Sequence[Footprint]]
"""One footprint of each configuration, or several rounds of them, each of another kind of machine; none if unknown."""


class Fit(NamedTuple):
    share: Share
    lines: tuple[str, ...] = ()  # why, for people


def fit(plan: SweepPlan, capacity: Capacity, probe: Probe) -> Fit:
    """What every trial gets. `probe` is asked only where something is left to memory, and trials could run together.

    What it does not know stays as it is asked for.

    capacity: of the machine; of a cluster, all GPUs and CPUs, and the memory of its largest node.
    """
    spec, resources = plan.spec, plan.spec.resources
    asked, packs = capacity.asked(resources), resources.gpus == "auto" and capacity.gpus > 0
    at_once = min(capacity.cpus // resources.cpus, spec.max_concurrent or math.inf, plan.trials)
    if not packs:
        at_once = min(at_once, capacity.concurrency(resources))
    if at_once < 2 or not (packs or resources.memory_gib == "auto"):
        return Fit(asked)
    configs = [config for few in demanding(plan).values() for config in few]
    if not (found := probe(configs)):
        return Fit(asked)
    settled = share(found, resources, capacity, int(at_once))
    lines = list(_lines(configs, found, packs))
    if settled.memory_gib > capacity.memory_gib:
        have = f"{capacity.memory_gib:.1f} GiB are left"
        lines.append(f"a trial may take {settled.memory_gib:.1f} GiB of memory and {have}: one runs at a time")
    return Fit(Share(settled.gpus, min(settled.memory_gib, capacity.memory_gib)), tuple(lines))


def _lines(configs: Sequence[TrialConfig], found: Sequence[Footprint], packs: bool) -> Iterator[str]:
    """One for each size of a model: of its configuration that takes most."""
    largest: dict[str, tuple[TrialConfig, Footprint]] = {}
    for number, footprint in enumerate(found):
        config = configs[number % len(configs)]
        known = largest.get(label(config))
        if known is None or _demand(footprint) > _demand(known[1]):
            largest[label(config)] = config, footprint
    for name, (config, footprint) in largest.items():
        yield f"{name}: {_told(config, footprint, packs)}"


def _demand(footprint: Footprint) -> tuple[bool, float, float]:
    """What cannot be measured or trained at all comes first."""
    return not footprint.micro_batch, footprint.gpu_gib, footprint.host_gib


def _told(config: TrialConfig, footprint: Footprint, packs: bool) -> str:
    if footprint.error:
        return f"its memory could not be measured ({footprint.error})"
    if not footprint.micro_batch:
        return "memory does not hold even one image at once, so its trials will be infeasible"
    what = f"{host_gib(footprint.host_gib):.1f} GiB of memory"
    if packs:
        fit = max(1, trials_a_gpu(footprint.gpu_total_gib, footprint.gpu_gib))
        what = f"{footprint.gpu_gib:.1f} GiB, {counted(fit, 'trial')} a GPU"
    if footprint.micro_batch < config.batch_size:
        what = f"memory does not hold a batch; {footprint.micro_batch} images at once will be tried: {what}"
    return what
