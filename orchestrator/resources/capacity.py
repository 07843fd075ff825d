"""What this machine has: CPUs and memory that we may use, GPUs that we may see. No torch, no Ray."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.resources.control_groups import cpu_quota, memory_left, memory_limit
from segsweep.orchestrator.resources.share import Share
from segsweep.orchestrator.space.spec import Resources
from segsweep.trainables.storage import GIB

RAY_GIB = 1.0  # of memory for Ray itself and the driver: 0.8 GiB with the dashboard


@dataclass(frozen=True)
class Capacity:
    cpus: int
    gpus: int
    memory_gib: float = math.inf  # of the host: what trials may take together

    def gpus_per_trial(self, resources: Resources) -> float:
        """One GPU where there are any and nothing is said, or nothing is measured yet."""
        return float(min(1, self.gpus)) if resources.gpus in (None, "auto") else float(resources.gpus)

    def asked(self, resources: Resources) -> Share:
        """What a trial gets while nothing is measured."""
        memory_gib = 0.0 if resources.memory_gib == "auto" else resources.memory_gib
        return Share(self.gpus_per_trial(resources), memory_gib)

    def concurrency(self, resources: Resources, share: Share | None = None) -> int:
        """Trials that fit at once; 0 if not even one does. share: what was measured, instead of what is asked for."""
        share = share or self.asked(resources)
        fit = self.cpus // resources.cpus
        if share.gpus:
            fit = min(fit, int(self.gpus / share.gpus + 1e-9))
        if share.memory_gib:
            fit = int(min(fit, self.memory_gib / share.memory_gib + 1e-9))
        return fit


def local_capacity() -> Capacity:
    """CPUs by affinity and quota (containers, taskset), GPUs by CUDA_VISIBLE_DEVICES, memory that is not in use."""
    cpus = min(len(os.sched_getaffinity(0)), cpu_quota())
    left_gib = min(_available(), memory_left()) / GIB - RAY_GIB
    return Capacity(max(1, int(cpus)), len(visible_gpus()), max(0.1, left_gib))


def memory_gib() -> float:
    """GiB of memory in all, as far as this process may use it."""
    return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), memory_limit()) / GIB


def _available() -> float:
    """Bytes that can be had without swapping, as Linux estimates them."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # not on Linux
        return math.inf
    return next((int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable:")), math.inf)


def visible_gpus() -> list[str]:
    """The names of the GPUs that CUDA shows this process, or their parts (MIG)."""
    found: list[GPU] = []
    if shutil.which("nvidia-smi") is not None:
        try:
            listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
        except subprocess.TimeoutExpired:
            raise InputError(Mistake("nvidia-smi -L", "does not answer; see what the driver says (dmesg)")) from None
        found = list(listed(listing.stdout))
    return shown(os.environ.get("CUDA_VISIBLE_DEVICES"), found)


class GPU(NamedTuple):
    """One that nvidia-smi lists, or a part of it."""

    name: str
    uuid: str
    number: int | None  # None: a part
    whole: str = ""  # of which GPU, by its UUID


def listed(listing: str) -> Iterator[GPU]:
    """What `nvidia-smi -L` printed."""
    whole = ""
    for line in listing.splitlines():
        if gpu := re.match(r"GPU (\d+): (.*) \(UUID: (\S+)\)", line):
            whole = gpu[3]
            yield GPU(gpu[2], whole, int(gpu[1]))
        elif part := re.match(r"\s+(MIG \S+)\s+Device\s+\d+: \(UUID: (\S+)\)", line):
            yield GPU(part[1], part[2], None, whole)


def shown(visible: str | None, found: list[GPU]) -> list[str]:
    """Names of what CUDA shows for CUDA_VISIBLE_DEVICES: indices, UUIDs or beginnings of them, parts of GPUs.

    As CUDA does, it ends at the first entry that is none. found: nothing where nvidia-smi is missing; then every entry
    that may be one counts.
    """
    if visible is None:
        return [gpu.name for gpu in found if gpu.number is not None]
    names: dict[str, str] = {}  # by UUID: one that is named twice is one
    for entry in map(str.strip, visible.split(",")):
        if not re.match(r"\d+$|(GPU|MIG)-", entry):
            break
        gpu = next((gpu for gpu in found if _is(gpu, entry)), None) if found else GPU("GPU", entry, None)
        if gpu is None:
            break
        names[entry if gpu.number is None else gpu.uuid] = gpu.name
    return list(names.values())


def _is(gpu: GPU, entry: str) -> bool:
    if entry.startswith("MIG-GPU-"):  # drivers before 470: MIG-<UUID of the GPU>/<instance>/<compute instance>
        return gpu.number is None and entry.startswith(f"MIG-{gpu.whole}/")
    if entry.isdigit():
        return gpu.number == int(entry)
    return gpu.uuid == entry if gpu.number is None else gpu.uuid.startswith(entry)
