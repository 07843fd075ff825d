"""What Linux's control groups leave a process: the limits of containers and of Slurm, Kubernetes or systemd.

Both versions, of the process's own group and of all above it. In a container its path is often that of the host and
not there; the root of the hierarchy then is the container's own group.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
UNLIMITED = 2**60  # version 1 writes a number near 2^63 for no limit


def cpu_quota(root: Path = ROOT, own: Path = OWN) -> float:
    """CPUs' worth of time that the process may use; inf where nothing limits it."""
    quotas = [math.inf]
    for folder in _groups("cpu", root, own):
        with suppress(OSError, ValueError):
            words = (folder / "cpu.max").read_text().split()
            quotas += [int(words[0]) / int(words[1])]
        with suppress(OSError, ValueError):
            quota = int((folder / "cpu.cfs_quota_us").read_text())
            quotas += [quota / int((folder / "cpu.cfs_period_us").read_text())] if quota > 0 else []
    return min(quotas)


def memory_limit(root: Path = ROOT, own: Path = OWN) -> float:
    """Bytes that the process's group may have; inf where nothing limits it."""
    return min((limit for limit, _ in _memory(root, own)), default=math.inf)


def memory_left(root: Path = ROOT, own: Path = OWN) -> float:
    """Bytes that the process's group may still take; inf where nothing limits it. Idle page cache counts as free."""
    return min((limit - used for limit, used in _memory(root, own)), default=math.inf)


def _memory(root: Path, own: Path) -> Iterator[tuple[int, int]]:
    """Limit and use of every group that has a limit."""
    for folder in _groups("memory", root, own):
        for limit, usage, idle in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            with suppress(OSError, ValueError):
                allowed = int((folder / limit).read_text())
                lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
                cache = sum(int(value) for name, value in lines if name == idle)
                if allowed < UNLIMITED:
                    yield allowed, int((folder / usage).read_text()) - cache


def _groups(controller: str, root: Path, own: Path) -> Iterator[Path]:
    """The folders of the process's groups that the controller may rule, up to the root."""
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            names = controllers.split(",")
            if controllers and controller not in names:
                continue
            for top in {root / controllers, root / controller} if controllers else {root, root / "unified"}:
                group = top / path.lstrip("/")
                yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))
