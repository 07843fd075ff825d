"""Fixtures that every test may use."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tests run in several processes; threads of each would wait for the others
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations looks for a newer version on the network
os.environ["RAY_AUTH_MODE"] = "token"  # read while ray is imported, which some test may do before Ray is started
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # likewise: keeps it on loopback
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real datasets; tests that need it skip where it is not."""
    beside = Path(__file__).parents[1] / "../shared/data"
    root = Path(os.environ.get("SEGSWEEP_DATA", beside)).resolve()
    if not root.is_dir():
        pytest.skip(f"no data: neither $SEGSWEEP_DATA nor {beside} is a folder")
    return root


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests decode and measure is kept for the others of their module, never in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables: making them takes seconds, copying the file does not."""
    from segsweep.orchestrator.tracking.store import connect

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path) -> str:
    """Of a store of the test's own."""
    from segsweep.orchestrator.tracking.store import resolve_uri

    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return resolve_uri("sqlite:///mlflow.db", tmp_path)


@pytest.fixture
def recorder(tmp_path: Path, uri: str) -> Iterator[Any]:
    """A tracked.Recorder."""
    from tracked import Recorder

    recorder = Recorder(tmp_path / "sweeps" / "camvid-1", uri)
    yield recorder
    recorder.journal.close()


@pytest.fixture
def environment() -> Iterator[None]:
    """Nothing of the user's; and everything as before afterwards: a run exports where data lie."""
    before = dict(os.environ)
    for name in ("SEGSWEEP_DATA", "SEGSWEEP_STORAGE", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def run(
    environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """`segsweep ARGUMENTS` in the folder tmp_path, in this process: an own one takes seconds to import torch."""
    from launched import Done

    from segsweep.orchestrator.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["segsweep", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return Done(int(end.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A launched.Finished."""
    from launched import TINY, Done, Finished, start

    home = tmp_path_factory.mktemp("finished")
    (home / "tiny.yaml").write_text(TINY)
    process = start(home, "launch", "tiny.yaml", "--in-process")
    out, err = process.communicate(timeout=120)
    return Finished(home, Done(process.returncode, out, err))


@pytest.fixture
def shared_store(environment: None, finished: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Track in the store of the finished sweep, as users of one server do: a new SQLite file takes two seconds."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", finished.uri)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium; tests of pages skip where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()
