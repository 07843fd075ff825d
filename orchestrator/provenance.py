"""Where a sweep was run: versions, commits, hardware, command. What one needs to run it again."""

from __future__ import annotations

import platform
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import JsonValue

from segsweep.orchestrator.passwords import without_password
from segsweep.orchestrator.resources.capacity import Capacity, memory_gib

PACKAGES = (
    "segsweep",
    "ray",
    "torch",
    "segmentation-models-pytorch",
    "transformers",
    "timm",
    "optuna",
    "mlflow",
    "albumentations",
    "numpy",
)


def provenance(capacity: Capacity) -> dict[str, JsonValue]:
    """Facts about this process and machine; no passwords, no environment variables."""
    return {
        "version": installed("segsweep"),
        "versions": {name: found for name in PACKAGES if (found := installed(name))},
        "python": platform.python_version(),
        "segsweep_commit": source_commit(),
        "git_commit": git_commit(Path.cwd()),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cpus": capacity.cpus,
        "gpus": capacity.gpus,
        "memory_gib": round(memory_gib(), 1),
        "command": " ".join(["segsweep", *map(without_password, sys.argv[1:])]),
    }


def source_commit() -> str:
    """segsweep's own, where it runs from a checkout; "" where it is installed, even inside somebody's repository."""
    here = Path(__file__).resolve()
    try:
        _git(here.parent, "ls-files", "--error-unmatch", here.name)
    except (OSError, subprocess.SubprocessError):
        return ""
    return git_commit(here.parent)


def git_commit(folder: Path) -> str:
    """The commit that `folder` is at, with "+changes" if files differ from it; "" outside a repository."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return f"{head}+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def installed(package: str) -> str:
    """Its version; "" if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
