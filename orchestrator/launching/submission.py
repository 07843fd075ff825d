"""A search space as a job of a running Ray cluster: `launch` runs on its head, and this machine may go."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import secrets
import shlex
import shutil
import site
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from segsweep.orchestrator.errors import ExitCode, InputError, Mistake
from segsweep.orchestrator.launching.preflight import ANSWER_TIMEOUT_S

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

TOKEN_PLACE = "~/.ray/auth_token"
NOT_YET = "No available agent"  # what a cluster says that has only just started
STARTS_WITHIN_S = 60.0
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Submission:
    """What becomes of a search space on the cluster."""

    name: str  # of the search space
    file: Path
    plugins: Sequence[str]  # modules that it names
    launch: Sequence[str]  # further arguments of `segsweep launch`
    folder: str  # on the cluster, shared by its nodes: where `launch` runs


def connect(address: str) -> JobSubmissionClient:
    """The cluster whose dashboard is at `address`, such as http://HEAD:8265. Raises InputError."""
    place = f"--address {address}"
    _check_answer(address, place)
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or TOKEN_PLACE).expanduser()
    if os.environ.get("RAY_AUTH_TOKEN") or token.is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # read while ray is imported
    os.environ["RAY_API_SERVER_ADDRESS"] = address  # it would win
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for name in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{name}").setLevel(logging.WARNING)  # they tell of every step
    try:
        return JobSubmissionClient(address)
    except AuthenticationError:
        remedy = f"put the cluster's into {TOKEN_PLACE} (mode 600) or $RAY_AUTH_TOKEN"
        have = "does not take this token" if os.environ.get("RAY_AUTH_MODE") == "token" else "asks for a token"
        raise InputError(Mistake(place, f"the cluster {have}; {remedy}")) from None
    except (RuntimeError, OSError, ValueError) as error:
        raise InputError(Mistake(place, f"no dashboard of Ray answers there ({str(error).splitlines()[0]})")) from None


def _check_answer(address: str, place: str) -> None:
    """Raises InputError if nothing listens there, for which Ray waits without end."""
    try:
        parts = urlsplit(address)
        default = PORTS[parts.scheme]
        socket.create_connection((parts.hostname or "", parts.port or default), ANSWER_TIMEOUT_S).close()
    except (KeyError, ValueError):
        message = "must be the address of Ray's dashboard, such as http://HEAD:8265"
        raise InputError(Mistake(place, message)) from None
    except OSError as error:
        tunnel = (
            "where it listens on the head's loopback, `ray dashboard CLUSTER.yaml` brings it to http://127.0.0.1:8265"
        )
        message = f"nothing answers there ({error.strerror or error}); {tunnel}"
        raise InputError(Mistake(place, message)) from None


def submit(client: JobSubmissionClient, what: Submission) -> str:
    """Send file and plug-ins, and start the job; returns its id. Raises InputError if the cluster refuses."""
    file = shlex.quote(what.file.name)
    arguments = shlex.join([*what.launch, "--address", "auto"])
    command = f'sent="$PWD"; cd {shlex.quote(what.folder)} && exec segsweep launch "$sent"/{file} {arguments}'
    with tempfile.TemporaryDirectory(prefix="segsweep-submit-") as parcel:
        shutil.copy(what.file, parcel)
        for module in what.plugins:
            _pack(module, Path(parcel))
        runtime_env = {"working_dir": parcel}  # every worker of the sweep gets it, and imports from it
        deadline = time.monotonic() + STARTS_WITHIN_S
        while True:
            job = f"{what.name}-{secrets.token_hex(4)}"
            try:
                return str(client.submit_job(entrypoint=command, submission_id=job, runtime_env=runtime_env))
            except RuntimeError as error:
                if NOT_YET not in str(error) or time.monotonic() > deadline:
                    raise InputError(Mistake(f"--address {client.get_address()}", str(error))) from None
                time.sleep(2)


def _pack(module: str, parcel: Path) -> None:
    """Copy a module of the user's own; those that are installed have to be installed on the nodes as well."""
    top = module.partition(".")[0]
    found = importlib.util.find_spec(top)
    if found is None or found.origin is None:
        return
    source = Path(found.origin).resolve()
    if any(source.is_relative_to(Path(folder).resolve()) for folder in site.getsitepackages()):
        return
    if found.submodule_search_locations:
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(source.parent, parcel / top, ignore=ignored, dirs_exist_ok=True)
    else:
        shutil.copy(source, parcel)


def follow(client: JobSubmissionClient, job: str, show: Callable[[str], None]) -> int:
    """Show what the job prints until it ends; returns the exit code of its `launch`."""

    async def tail() -> None:
        async for lines in client.tail_job_logs(job):
            show(lines)

    asyncio.run(tail())
    info = client.get_job_info(job)
    if info.driver_exit_code is not None:
        return int(info.driver_exit_code)
    if info.status != "SUCCEEDED":
        show(f"{job}: {info.status.lower()}: {info.message or ''}\n")
    return ExitCode.DONE if info.status == "SUCCEEDED" else ExitCode.INTERNAL
