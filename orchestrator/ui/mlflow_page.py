"""MLflow's own page: of a file or a database served by a child process on loopback, of a server the server's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from segsweep.orchestrator.passwords import without_password
from segsweep.orchestrator.tracking.store import sqlite_path, with_password

STARTS_WITHIN_S = 180.0
ENDS_WITHIN_S = 5.0
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
# The command, and beside it somebody who ends its process group once nobody holds the other end of our pipe any more:
# that is closed whatever ends us, SIGKILL too
ENDS_WITH_US = f"""
exec 3<&0 </dev/null
(trap '' TERM; read _ <&3; kill 0; sleep {ENDS_WITHIN_S:.0f}; kill -9 0) &
exec "$@" 3<&-
"""
OPEN_TO_ALL = (
    "MLflow's page of a database is started where --mlflow is given: everybody on this machine can then change it"
)


class Ports:
    """Those of loopback that nobody listens on, each given once: what it is for takes seconds to listen."""

    def __init__(self, first: int) -> None:
        self._next, self._lock = first, threading.Lock()

    def take(self) -> int:
        with self._lock:
            port = free_port(self._next)
            self._next = port + 1
            return port


class MlflowPage:
    def __init__(self, uri: str, ports: Ports, *, databases: bool) -> None:
        """uri: as resolve_uri has it. databases: serve those that need a password, too, to whoever asks."""
        self._path = sqlite_path(uri)
        self._uri, self._ports = uri, ports
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # the child's as long as it runs
        self.is_ours = not uri.startswith("http")  # its address is one of loopback, by us
        self.address = "" if self.is_ours else without_password(uri).rstrip("/")  # "" until it answers
        self.expected = self.address  # where it will answer; "" while nothing is started
        self._starts = self.is_ours and (self._path is not None or databases)
        self.problem = OPEN_TO_ALL if self.is_ours and not self._starts else ""

    def look(self) -> None:
        """Start it if the store is there by now: MLflow's server would make a file that is not."""
        with self._lock:
            if not self._starts or self._process is not None or (self._path and not self._path.is_file()):
                return
            port = self._ports.take()
            self._process = self._started(port)
            self.expected = f"http://127.0.0.1:{port}"
        threading.Thread(target=self._wait, args=(self.expected,), name="mlflow", daemon=True).start()

    def _started(self, port: int) -> subprocess.Popen[bytes]:
        where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        return subprocess.Popen(
            ["sh", "-c", ENDS_WITH_US, "sh", sys.executable, "-m", "mlflow", "server", *where],
            cwd=self._path.parent if self._path else Path.cwd(),  # as plain `mlflow ui` there
            # no argument, which everybody sees: it may hold a password
            env={**os.environ, **QUIET, "MLFLOW_BACKEND_STORE_URI": with_password(self._uri)},
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # it has children, which end with it
        )

    def _wait(self, address: str) -> None:
        assert self._process is not None
        deadline = time.monotonic() + STARTS_WITHIN_S
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):
                urllib.request.urlopen(f"{address}/health", timeout=2).close()
                self.address = address
                return
            time.sleep(0.5)
        with self._lock:
            if not self._log.closed:  # else we end it
                self._log.seek(0)
                said = self._log.read().decode(errors="replace").strip().rpartition("\n")[2]
                self.problem = f"MLflow's server did not start: {without_password(said) or 'it does not answer'}"

    def close(self) -> None:
        with self._lock:
            if self._process is not None:
                _end(self._process)
            self._log.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and all that it started."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with suppress(subprocess.TimeoutExpired):
            process.wait(ENDS_WITHIN_S)


def free_port(first: int) -> int:
    """The first from there on that nobody listens on."""
    for port in range(first, 65536):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"no port from {first} on is free")
