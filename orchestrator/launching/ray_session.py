"""Ray for one sweep: a local one with its dashboard on loopback behind a token, or a running cluster."""

from __future__ import annotations

import math
import os
import secrets
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from segsweep.orchestrator.errors import ExitCode, InputError, Mistake
from segsweep.orchestrator.next_step import resume_command
from segsweep.trainables.storage import GIB

LOOPBACK = "127.0.0.1"
DAEMONS = {"raylet", "gcs_server"}  # without them nothing runs
LOOKS_EVERY_S = 0.5


@dataclass(frozen=True)
class RaySession:
    dashboard: str  # its URL, "" where there is none
    token_file: Path | None  # what the dashboard asks for; None on a cluster, whose owner knows it


def check_port(port: int) -> None:
    """Raises InputError if something else listens on the dashboard's port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError) as error:
            raise InputError(
                Mistake(f"--dashboard-port {port}", f"is not free ({error}); give another, or leave it out")
            ) from None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@contextmanager
def ray_session(
    folder: Path,
    *,
    cpus: int,
    gpus: int,
    memory_gib: float = math.inf,
    address: str | None = None,
    dashboard_port: int | None = None,
) -> Iterator[RaySession]:
    """Start Ray, or join the cluster at `address`; ends with it.

    memory_gib: for trials; inf: as much as Ray finds. folder: the sweep's, where the dashboard's token is written with
    owner-only rights.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves trials on a machine that does anything else
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # today's default of Ray, without its warning
    token_file = _use_token(folder) if address is None else None
    import ray  # only now: it reads the token's variables while it is imported

    if address is not None:
        try:
            context = ray.init(address=address, log_to_driver=False, logging_level="warning")
        except ConnectionError as error:
            why = str(error).splitlines()[0]
            raise InputError(Mistake(f"--address {address}", f"{why} Then go on with `segsweep resume`")) from None
    else:
        with _agent_on_any_port():
            context = ray.init(
                address="local",  # never a leftover cluster of somebody else
                _temp_dir=str(private_folder() / "ray"),
                num_cpus=cpus,
                num_gpus=gpus,
                _memory=int(memory_gib * GIB) if math.isfinite(memory_gib) else None,
                include_dashboard=True,
                dashboard_host=LOOPBACK,
                dashboard_port=dashboard_port or free_port(),
                log_to_driver=False,
                logging_level="warning",
            )
    url = context.dashboard_url
    try:
        with _ending_with_its_daemons(folder, token_file):
            yield RaySession(f"http://{url}" if url else "", token_file)
    finally:
        ray.shutdown()
        if token_file is not None:
            token_file.unlink(missing_ok=True)


@contextmanager
def _agent_on_any_port() -> Iterator[None]:
    """Without it a second Ray on a machine has no agent: no log of a worker that crashed, no gauges.

    `ray start` can choose the agent's port, `ray.init` always takes 52365.
    """
    from ray._private import parameter

    usual = parameter.RayParams
    parameter.RayParams = partial(usual, dashboard_agent_listen_port=0)
    try:
        yield
    finally:
        parameter.RayParams = usual


@contextmanager
def _ending_with_its_daemons(folder: Path, token_file: Path | None) -> Iterator[None]:
    """End this process when those that Ray started here have been killed, as by a signal to the whole process group.

    Every call to Ray would wait for them for a minute, then end the process with a message of its own. The journal is
    whole at any moment, so nothing is lost.
    """
    from ray._private import worker

    node, done = worker._global_node, threading.Event()

    def look() -> None:
        while node is not None and not done.wait(LOOKS_EVERY_S):
            if killed := DAEMONS & {kind for kind, _ in node.dead_processes()}:
                if token_file is not None:
                    token_file.unlink(missing_ok=True)
                Console(stderr=True).show_cursor()  # the live panel hides it
                names = " and ".join(sorted(killed))
                print(f"{folder.name}: Ray's {names} was killed. Go on: {resume_command(folder)}", file=sys.stderr)
                sys.stderr.flush()
                os._exit(ExitCode.INTERRUPTED)

    watcher = threading.Thread(target=look, name="segsweep-daemons", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def private_folder() -> Path:
    """Where Ray keeps sockets, logs and what failed trials raised, pickled; it would let everybody write there.

    ray-UID in $RAY_TMPDIR or the system's temporary folder. Raises InputError if others may enter it.
    """
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / f"ray-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        remedy = "remove it, or name a folder of your own in $RAY_TMPDIR"
        raise InputError(
            Mistake(str(folder), f"is not a folder that you alone may enter, as Ray's has to be; {remedy}")
        )
    return folder


def _use_token(folder: Path) -> Path:
    """Switch token authentication on, with a token of this sweep's own unless the user has set one; and stay local."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # all of Ray on loopback, its open metrics included
    os.environ["RAY_AUTH_MODE"] = "token"
    token = os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    path = folder / "ray_token"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    return path
