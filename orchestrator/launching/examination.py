"""What a sweep needs of this machine, tried out one after the other: each is well, or it is said what to do."""

from __future__ import annotations

import fcntl
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.launching.preflight import unusable_address
from segsweep.orchestrator.mirroring.places import storage_address
from segsweep.orchestrator.resources.capacity import local_capacity, memory_gib
from segsweep.orchestrator.tracking.store import check as check_store
from segsweep.orchestrator.tracking.store import sqlite_path
from segsweep.trainables.places import CACHE_VARIABLE, cache_folder
from segsweep.trainables.plurals import counted
from segsweep.trainables.storage import GIB

LITTLE_DISK_GIB = 5.0
LITTLE_SHARED_MEMORY_GIB = 1.0  # Ray's object store moves to /tmp below, and is slow there
FEW_FILES = 4096
HUB_TIMEOUT_S = 3.0


class Finding(NamedTuple):
    subject: str
    state: Literal["ok", "warning", "fault"]  # a fault stops every sweep
    message: str


class Surroundings(NamedTuple):
    """What is looked at."""

    storage: Path
    tracking_uri: str
    address: str | None = None  # of a Ray cluster


def examine(here: Surroundings) -> Iterator[Finding]:
    """One finding after the other; the slow ones last."""
    checks: tuple[tuple[str, Callable[[Surroundings], Finding]], ...] = (
        ("Python", lambda _: _python()),
        ("packages", lambda _: _packages()),
        ("machine", lambda _: _machine()),
        ("shared memory", lambda _: _shared_memory()),
        ("open files", lambda _: _open_files()),
        ("storage", _storage),
        ("data cache", lambda _: _folder("data cache", cache_folder(), CACHE_VARIABLE)),
        ("weights", lambda _: _weights()),
        ("torch", lambda _: _torch()),
        ("MLflow", lambda here: _mlflow(here.tracking_uri)),
        ("Ray", lambda here: _ray(here.address)),
    )
    for subject, check in checks:
        try:
            yield check(here)
        except InputError as error:
            yield Finding(subject, "fault", str(error))
        except Exception as error:  # what breaks in a library is a finding as well
            yield Finding(subject, "fault", f"{type(error).__name__}: {error}")


def _python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()} in {sys.prefix}")


def _packages() -> Finding:
    from packaging.requirements import Requirement

    wrong: list[str] = []
    for line in requires("segsweep") or ():
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(wanted.name)
            if not wanted.specifier.contains(found, prereleases=True):
                wrong.append(f"{wanted.name} {found} is not {wanted.specifier}")
        except PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
    if wrong:
        return Finding("packages", "fault", f"{'; '.join(wrong)}. Install segsweep anew, with its constraints.txt")
    return Finding("packages", "ok", f"segsweep {version('segsweep')}, and all that it requires")


def _machine() -> Finding:
    capacity = local_capacity()
    gpus = counted(capacity.gpus, "GPU") if capacity.gpus else "no GPU: trials run on CPUs"
    return Finding("machine", "ok", f"{capacity.cpus} CPUs that may be used, {memory_gib():.0f} GiB of memory, {gpus}")


def _shared_memory() -> Finding:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Finding("shared memory", "warning", "there is no /dev/shm; Ray keeps objects on disk, which is slow")
    free_gib = shutil.disk_usage(folder).free / GIB
    if free_gib < LITTLE_SHARED_MEMORY_GIB:
        remedy = "in a container, start it with --shm-size=8g"
        return Finding("shared memory", "warning", f"{free_gib:.2f} GiB free in /dev/shm, Ray wants more; {remedy}")
    return Finding("shared memory", "ok", f"{free_gib:.0f} GiB free in /dev/shm")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FEW_FILES:
        most = "unlimited" if hard == resource.RLIM_INFINITY else hard
        return Finding("open files", "warning", f"{soft} at most, Ray needs more: ulimit -n {FEW_FILES} (up to {most})")
    return Finding("open files", "ok", f"{soft} at most")


def _folder(subject: str, folder: Path, elsewhere: str) -> Finding:
    """Written, locked and synced in it for real. elsewhere: how to name another folder."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".segsweep-doctor-") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        what = f"{folder}: no file can be written and locked there ({error.strerror}); name another with {elsewhere}"
        return Finding(subject, "fault", what)
    free_gib = shutil.disk_usage(existing).free / GIB
    message = f"{folder}: {free_gib:.0f} GiB free"
    if free_gib < LITTLE_DISK_GIB:
        return Finding(subject, "warning", f"{message}, which is little; make room, or name another with {elsewhere}")
    return Finding(subject, "ok", message)


def _storage(here: Surroundings) -> Finding:
    for mistake in unusable_address(here.storage, None):
        return Finding("storage", "fault", mistake.message)
    address = storage_address(here.storage)
    found = _folder("storage", here.storage, CACHE_VARIABLE if address else "--storage DIR")
    return found._replace(message=f"{address} can be written; sweeps run in {found.message}") if address else found


def _weights() -> Finding:
    from huggingface_hub import constants

    cache = f"those that are here lie in {constants.HF_HUB_CACHE}"
    if constants.HF_HUB_OFFLINE:
        return Finding("weights", "ok", f"HF_HUB_OFFLINE is set: nothing is fetched; {cache}")
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=HUB_TIMEOUT_S).close()
    except HTTPError:
        pass  # an answer, too
    except OSError as error:
        why = f"the hub does not answer ({getattr(error, 'reason', error)})"
        remedy = "put weights there, or name a file, a folder or `none`; `segsweep validate` says which are missing"
        return Finding("weights", "warning", f"{why}; {cache}: {remedy}")
    return Finding("weights", "ok", f"the hub answers; {cache}")


def _torch() -> Finding:
    import torch

    built = f"torch {torch.__version__}"
    capacity = local_capacity()
    if not torch.cuda.is_available():
        if capacity.gpus:
            remedy = "install the torch build for your driver (nvidia-smi shows its CUDA version)"
            return Finding("torch", "fault", f"{built} sees none of {capacity.gpus} GPUs; {remedy}")
        return Finding("torch", "ok", f"{built}, on CPUs")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    for index in range(len(names)):  # a driver may list a GPU that nothing runs on
        ones = torch.ones(64, 64, device=f"cuda:{index}")
        if float((ones @ ones).sum()) != 64**3:
            return Finding("torch", "fault", f"{built}: {names[index]} computes wrongly; check its driver and memory")
    return Finding("torch", "ok", f"{built}, CUDA {torch.version.cuda}, computed on {', '.join(names)}")


def _mlflow(uri: str) -> Finding:
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        found = _folder("MLflow", path, "MLFLOW_TRACKING_URI")
        return found if found.state == "fault" else Finding("MLflow", "ok", f"{uri}, which the first sweep will make")
    check_store(uri)
    return Finding("MLflow", "ok", f"{uri} answers")


def _ray(address: str | None) -> Finding:
    from segsweep.orchestrator.launching.ray_session import ray_session

    capacity = local_capacity()
    with (
        tempfile.TemporaryDirectory(prefix="segsweep-doctor-") as folder,
        ray_session(Path(folder), cpus=capacity.cpus, gpus=capacity.gpus, address=address),
    ):
        import ray

        where = ray.get(ray.remote(platform.node).remote(), timeout=60)
        resources = ray.cluster_resources()
    units = f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"
    return Finding("Ray", "ok", f"{ray.__version__} ran a task on {where}; {units} {'there' if address else 'here'}")
