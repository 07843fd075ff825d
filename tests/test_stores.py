"""Which MLflow stores are used, which are refused and in which words, and real servers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from base64 import b64encode
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner
from tracked import Recorder, points_of, runs_of
from waiting import answers, wait_until

from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.launching.ray_session import free_port
from segsweep.orchestrator.tracking.reader import Reader
from segsweep.orchestrator.tracking.store import check, resolve_uri
from segsweep.orchestrator.tracking.writer import TrackingWriter, sync

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # MLflow imports pydantic, starlette and sqlalchemy features that are going away
    "ignore::ResourceWarning",  # its SQLite connections are closed by the garbage collector
)


# -- which store ----------------------------------------------------------------------------------------------------


def test_the_default_store_is_mlflows_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve_uri(None, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert resolve_uri("sqlite:///runs/a.db", tmp_path) == f"sqlite:///{tmp_path}/runs/a.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert resolve_uri(None, tmp_path) == "http://mlflow:5000"
    assert resolve_uri("sqlite:////a.db", tmp_path) == "sqlite:////a.db"


def test_a_folder_with_odd_characters_holds_a_store(tmp_path: Path, empty_store: Path) -> None:
    folder = tmp_path / "my data 100%25 'q' #1?"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    recorder = Recorder(folder / "sweep", resolve_uri("sqlite:///mlflow.db", folder))
    recorder.create()
    recorder.journal.close()
    sync(recorder.folder)
    assert "" in runs_of(recorder.uri)
    assert sorted(path.name for path in folder.iterdir()) == ["mlflow.db", "mlruns", "sweep"]


BAD_STORES = [
    ("http://127.0.0.1:{port}", "no MLflow server answers there"),
    ("http://nowhere.invalid:5000", "no MLflow server answers there"),
    ("http://", "has no host"),
    ("http://localhost:99999", "is no address"),
    ("file:///tmp/mlruns", "plain files"),
    ("mlruns", "plain files"),
    ("ftp://host/x", "'ftp' is no store"),
    ("sqlite:///{folder}/file/mlflow.db", r"cannot be written.*launch --set tracking\.uri=URI.*--tracking-uri URI"),
    ("sqlite:///{folder}/file", "cannot be written"),
    ("sqlite:///{folder}", "cannot be written"),
]


@pytest.mark.parametrize(("uri", "message"), BAD_STORES)
def test_a_store_that_cannot_be_used_is_refused_in_one_line(
    uri: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no database, but long enough to be read as the header of one: " * 40)
    uri = uri.format(port=free_port(), folder=tmp_path)
    began = time.monotonic()
    with pytest.raises(InputError, match=message) as caught:
        check(uri)
    assert time.monotonic() - began < 10
    assert "\n" not in str(caught.value)
    assert uri in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_server_that_accepts_and_never_answers_is_refused_in_time() -> None:
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(InputError, match="does not answer within 1 s"):
            check(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=1.0)


class _Refusing(BaseHTTPRequestHandler):
    """An MLflow server that lets nobody in."""

    seen: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers["Authorization"])
        self.send_error(401)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def test_the_password_of_the_environment_is_used_and_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"127.0.0.1:{server.server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:s3cret@{address}")
        uri = resolve_uri(None, Path("/"))
        with pytest.raises(InputError, match="does not take this user name and password") as caught:
            check(uri)
        assert uri == f"http://ada@{address}"  # what the journal keeps: sync and resume connect with it
        assert "s3cret" not in str(caught.value)
        assert set(_Refusing.seen) == {f"Basic {b64encode(b'ada:s3cret').decode()}"}
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("command", ["leaderboard", "best"])
def test_a_password_on_the_command_line_is_refused_without_repeating_it(command: str) -> None:
    more = ["--dataset", "day"] if command == "best" else []
    result = CliRunner().invoke(cli, [command, *more, "--tracking-uri", "postgresql://ada:s3cret@db/mlflow"])
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith("tracking URI postgresql://ada@db/mlflow: holds a password")
    assert "MLFLOW_TRACKING_URI" in str(result.exception)


def test_a_good_store_passes_without_a_word(uri: str, capfd: pytest.CaptureFixture[str]) -> None:
    check(uri)
    assert capfd.readouterr() == ("", "")


def test_reading_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="segsweep launch FILE"):
        Reader(resolve_uri("sqlite:///mlflow.db", tmp_path))
    assert not list(tmp_path.iterdir())


# -- real servers ---------------------------------------------------------------------------------------------------


def serve(arguments: list[str], port: int, cwd: Path) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).parent / "mlflow"), *arguments, "--port", str(port), "--workers", "1"]
    nowhere = subprocess.DEVNULL
    server = subprocess.Popen(command, cwd=cwd, start_new_session=True, stdout=nowhere, stderr=nowhere)
    wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), "MLflow's server")
    return server


def kill(server: subprocess.Popen[bytes]) -> None:
    """With the processes that it started: they would go on answering."""
    os.killpg(server.pid, signal.SIGKILL)
    server.wait(30)


@pytest.mark.slow
def test_plain_mlflow_ui_in_the_folder_shows_the_sweep(recorder: Recorder, tmp_path: Path) -> None:
    recorder.create()
    recorder.trial("001", [0.2])
    sync(recorder.folder)
    port = free_port()
    server = serve(["ui"], port, tmp_path)
    try:
        runs = runs_of(f"http://127.0.0.1:{port}")
        assert set(runs) == {"", "001"}
        address = f"http://127.0.0.1:{port}/get-artifact?path=search_space.yaml&run_id={runs[''].info.run_id}"
        with urllib.request.urlopen(address, timeout=10) as reply:
            assert reply.read().decode() == "datasets: [camvid]  # ünïcode\n"
    finally:
        kill(server)


@pytest.mark.slow
def test_a_server_that_goes_down_during_the_sweep_has_everything_in_the_end(tmp_path: Path) -> None:
    port = free_port()
    recorder = Recorder(tmp_path / "sweep", f"http://127.0.0.1:{port}")
    server = serve(["server"], port, tmp_path)
    check(recorder.uri)
    writer = TrackingWriter(recorder.folder)
    writer.start()
    recorder.create()
    recorder.start("001")
    recorder.epochs("001", [0.2])
    wait_until(lambda: "001" in runs_of(recorder.uri), "its first trial is there")
    kill(server)
    recorder.epochs("001", [0.3], first=2)
    recorder.end("001")
    wait_until(lambda: writer.problem, "a problem")
    server = serve(["server"], port, tmp_path)
    try:
        assert writer.close(90) == 0
        run = runs_of(recorder.uri)["001"]
        assert run.info.status == "FINISHED"
        assert points_of(recorder.uri, run.info.run_id, "val_miou") == [(1, 0.2), (2, 0.3)]
    finally:
        recorder.journal.close()
        kill(server)
