"""What this machine has: CPUs that we may use, GPUs that we may see. No torch, no Ray."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from segsweep.orchestrator.space.spec import Resources


@dataclass(frozen=True)
class Capacity:
    cpus: int
    gpus: int

    def gpus_per_trial(self, resources: Resources) -> float:
        """`auto` settled: one GPU where there are any."""
        return float(min(1, self.gpus)) if resources.gpus == "auto" else resources.gpus

    def concurrency(self, resources: Resources) -> int:
        """Trials that fit at once; 0 if not even one does."""
        fit = self.cpus // resources.cpus
        if gpus := self.gpus_per_trial(resources):
            fit = min(fit, int(self.gpus / gpus + 1e-9))
        return fit


def local_capacity() -> Capacity:
    """CPUs by affinity (containers, taskset); GPUs by CUDA_VISIBLE_DEVICES, else as nvidia-smi lists them."""
    return Capacity(len(os.sched_getaffinity(0)), _visible_gpus())


def _visible_gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    if shutil.which("nvidia-smi") is None:
        return 0
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
