"""Peak memory of one epoch: of the GPU's allocator where there is one, else of this process."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

import torch

from segsweep.trainables.storage import GIB


def reset_peak(device: torch.device) -> None:
    """Start a new measurement, so that a trial is not charged for what an earlier one in this process needed."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # not on Linux: the peak is then that of the whole process life
        Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to the present size, proc(5)


def peak_gib(device: torch.device) -> float:
    """GiB allocated on the GPU, or resident on the CPU (page cache included), at most since `reset_peak`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / GIB
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
