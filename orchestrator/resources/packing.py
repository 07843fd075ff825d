"""How many trials share a GPU or a host, from what was measured of one: arithmetic alone."""

from __future__ import annotations

from collections.abc import Iterable

from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.orchestrator.resources.share import Share
from segsweep.orchestrator.space.spec import Resources
from segsweep.trainables.training.footprints import Footprint

MARGIN = 1.15  # on what was measured: images differ in size, allocators in how they fill up
CONTEXT_GIB = 0.5  # of CUDA in every process on a GPU, which torch does not count
WORKER_GIB = 0.5  # what a worker of Ray holds beyond that: 0.46 GiB where the probe saw 0.88
UNIT = 10_000  # Ray counts ten-thousandths of a GPU, and would round 1/6 up


def trials_a_gpu(total_gib: float, reserved_gib: float) -> int:
    """How many trials fit on a GPU of `total_gib` if torch reserves `reserved_gib` for each; 0 if none does."""
    return int(total_gib / (reserved_gib * MARGIN + CONTEXT_GIB))


def host_gib(resident_gib: float) -> float:
    """What a process of a trial may take of its host."""
    return resident_gib * MARGIN + WORKER_GIB


def share(footprints: Iterable[Footprint], resources: Resources, capacity: Capacity, at_once: int) -> Share:
    """What every trial gets, such that any of them fits: the largest decides. One that does not fit at all gets all.

    at_once: how many could run together as far as CPUs, trials and max_concurrent go. No GPU is shared by more than
    that while another has none, and none is counted as shared by trials that cannot be there.
    """
    measured = [found for found in footprints if found.micro_batch]
    gpus = capacity.gpus_per_trial(resources)
    if resources.gpus == "auto" and gpus and measured:
        fit = min(trials_a_gpu(found.gpu_total_gib, found.gpu_gib) for found in measured)
        gpus = UNIT // max(1, min(fit, at_once // capacity.gpus)) / UNIT
    if resources.memory_gib != "auto":
        return Share(gpus, resources.memory_gib)
    return Share(gpus, max((host_gib(found.host_gib) for found in measured), default=0.0) * resources.team)
