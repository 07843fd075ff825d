"""MLflow's own page: of a SQLite store served by a child process on loopback, of a server the server's."""

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

from segsweep.orchestrator.passwords import without_password
from segsweep.orchestrator.tracking.store import sqlite_path

STARTS_WITHIN_S = 180.0
ENDS_WITHIN_S = 5.0
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


class MlflowPage:
    def __init__(self, uri: str, first_port: int) -> None:
        """uri: as resolve_uri has it. first_port: the first of those that are tried."""
        self._path = sqlite_path(uri)
        self._uri, self._first_port = uri, first_port
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # the child's as long as it runs
        self.address = without_password(uri).rstrip("/") if uri.startswith("http") else ""  # "" until it answers
        self.expected = self.address  # where it will answer; "" while nothing is started
        self.problem = "" if self.address or self._path else "the store is a database: start `mlflow server` on it"

    @property
    def is_ours(self) -> bool:
        """Its address is one of loopback, by us."""
        return self._path is not None

    def look(self) -> None:
        """Start it if the store is there by now: MLflow's server would make a file that is not."""
        with self._lock:
            if self._path is None or self._process is not None or not self._path.is_file():
                return
            port = free_port(self._first_port)
            self._process = self._started(port)
            self.expected = f"http://127.0.0.1:{port}"
        threading.Thread(target=self._wait, args=(self.expected,), name="mlflow", daemon=True).start()

    def _started(self, port: int) -> subprocess.Popen[bytes]:
        assert self._path is not None
        where = ["--backend-store-uri", self._uri, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        return subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *where],
            cwd=self._path.parent,  # as plain `mlflow ui` there
            env={**os.environ, **QUIET},
            stdin=subprocess.DEVNULL,
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
                self.problem = f"MLflow's server did not start: {said or 'it does not answer'}"

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
