"""MLflow fails while a sweep runs, in every way that it can: the sweep goes on, and everything arrives later, once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from mlflow_books import check_books
from scripted import scripted
from waiting import answers, wait_until

from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.errors import ExitCode
from segsweep.orchestrator.launching.launch import Machinery, Outcome, create, run
from segsweep.orchestrator.launching.ray_session import free_port
from segsweep.orchestrator.record.journal import EpochDone, read_events
from segsweep.orchestrator.space.source import parse
from segsweep.orchestrator.tracking.writer import sync

pytestmark = [
    pytest.mark.drill,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # of MLflow and SQLAlchemy
]

SPACE = """\
datasets: [{type: streets, size: [48, 80], train: 8, val: 4, test: 4}]
models: [unet, fpn]
trials: 4
epochs: 3
image_size: [48, 80]
scheduler: fifo
"""
EPOCHS = 2 * 4 * 3
HERE = Machinery(in_process=True, quiet=True)
PACE_S = 0.25  # of an epoch


def begin(folder: Path, uri: str) -> Path:
    """A sweep whose runs belong into the store at `uri`, not yet started."""
    text = SPACE + f"tracking: {{uri: '{uri}'}}\n"
    return create(check(parse(text, folder / "faults.yaml")), folder / "sweeps", None, HERE, lambda line: None)


def drive(folder: Path, at: dict[int, Callable[[], object]], pace_s: float = PACE_S) -> Outcome:
    """Run the sweep; `at` says what happens to MLflow before which of its epochs 1, 2 ... EPOCHS."""
    epochs = iter(range(1, EPOCHS + 1))

    def mishap(assignment: Assignment, epoch: int) -> None:
        time.sleep(pace_s)
        at.get(next(epochs), lambda: None)()

    outcome = run(folder, HERE, lambda line: None, scripted(mishap))
    assert outcome.code == ExitCode.DONE
    assert longest_pause(folder) < pace_s + 1.5  # nothing waited for MLflow
    return outcome


def longest_pause(folder: Path) -> float:
    times = [event.time for event, _ in read_events(folder / "journal.jsonl") if isinstance(event, EpochDone)]
    assert len(times) == EPOCHS
    return max(after - before for before, after in pairwise(times))


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    for name in ("MLFLOW_TRACKING_URI", "SEGSWEEP_DATA", "SEGSWEEP_STORAGE"):
        monkeypatch.delenv(name, raising=False)


# -- a SQLite file ----------------------------------------------------------------------------------------------------


def test_a_store_that_another_process_locks_gets_everything_afterwards(tmp_path: Path, empty_store: Path) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    folder = begin(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    code = (
        "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('BEGIN EXCLUSIVE'); print(); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "mlflow.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()  # it has the lock: nobody else reads or writes
        outcome = drive(folder, {EPOCHS - 4: other.stdin.close}, pace_s=0.1)
    assert outcome.unsent == 0
    assert check_books(folder / "journal.jsonl") > EPOCHS


# -- a server ---------------------------------------------------------------------------------------------------------


class Proxy:
    """Stands before a server and passes everything on, until `fault` says otherwise."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.port = free_port()
        self.fault = ""  # what happens to requests, or "FAULT PATH": only to those whose path ends like this
        self.faults = 0  # requests that met one
        self._listener: ThreadingHTTPServer | None = None
        self.late: list[threading.Thread] = []
        self.up()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        self._listener = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        assert self._listener is not None
        self._listener.shutdown()
        self._listener.server_close()

    def fails(self, fault: str) -> Callable[[], None]:
        return lambda: setattr(self, "fault", fault)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault, _, path = proxy.fault.partition(" ")
                fault = fault if self.path.endswith(path) else ""
                proxy.faults += bool(fault)
                if fault == "slow":
                    time.sleep(0.7)
                if fault.isdigit():
                    self.send_error(int(fault))
                elif fault == "late":  # as a gateway that gives up on a server that does not
                    proxy.late.append(threading.Thread(target=lambda: (time.sleep(3), self.forward(body))))
                    proxy.late[-1].start()
                    self.send_error(504)
                else:
                    status, kind, reply = self.forward(body)
                    if fault != "lost":  # then the client never hears that its request was carried out
                        self.send_response(status)
                        self.send_header("Content-Type", kind)
                        self.send_header("Content-Length", str(len(reply)))
                        self.end_headers()
                        self.wfile.write(reply)

            do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815

            def forward(self, body: bytes) -> tuple[int, str, bytes]:
                with closing(HTTPConnection("127.0.0.1", proxy.server_port, timeout=60)) as server:
                    server.request(self.command, self.path, body, dict(self.headers))
                    reply = server.getresponse()
                    return reply.status, reply.getheader("Content-Type") or "", reply.read()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture(scope="module")
def server_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real MLflow server on a port of its own."""
    port, folder = free_port(), tmp_path_factory.mktemp("server")
    command = [str(Path(sys.executable).parent / "mlflow"), "server", "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=nowhere, stderr=nowhere) as server:
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), "MLflow's server")
            yield port
        finally:
            server.terminate()


@pytest.fixture
def proxy(server_port: int) -> Iterator[Proxy]:
    proxy = Proxy(server_port)
    yield proxy
    proxy.down()
    for thread in proxy.late:
        thread.join(60)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["500", "404", "slow", "lost", "lost runs/create", "late runs/create"])
def test_a_server_that_fails_in_the_middle_has_everything_in_the_end(proxy: Proxy, tmp_path: Path, fault: str) -> None:
    folder = begin(tmp_path, proxy.uri)
    outcome = drive(folder, {3: proxy.fails(fault), EPOCHS - 6: proxy.fails("")})
    assert proxy.faults > 0
    assert outcome.unsent == 0
    assert check_books(folder / "journal.jsonl") > EPOCHS


@pytest.mark.slow
@pytest.mark.parametrize("outage_s", [4, 60])
def test_a_server_that_is_gone_for_a_while_has_everything_in_the_end(
    proxy: Proxy, tmp_path: Path, outage_s: int
) -> None:
    folder = begin(tmp_path, proxy.uri)
    pace_s = outage_s / 12
    outcome = drive(folder, {6: proxy.down, 18: proxy.up}, pace_s)
    assert outcome.unsent == 0
    assert check_books(folder / "journal.jsonl") > EPOCHS


@pytest.mark.slow
def test_a_server_that_goes_as_the_sweep_begins_has_everything_in_the_end(proxy: Proxy, tmp_path: Path) -> None:
    folder = begin(tmp_path, proxy.uri)
    proxy.down()
    assert drive(folder, {12: proxy.up}).unsent == 0
    assert check_books(folder / "journal.jsonl") > EPOCHS


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["500", "lost"])
def test_what_a_server_missed_at_the_end_is_sent_by_sync_once(proxy: Proxy, tmp_path: Path, fault: str) -> None:
    folder = begin(tmp_path, proxy.uri)
    outcome = drive(folder, {EPOCHS - 6: proxy.fails(fault)})
    assert outcome.unsent > 0
    proxy.fails("")()
    assert sync(folder) == outcome.unsent
    assert check_books(folder / "journal.jsonl") > EPOCHS
    assert sync(folder) == 0
