"""`segsweep ui` over sweeps that are kept at an address, on the machine where they ran and on another one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from report_sweeps import REAL
from s3_endpoint import s3_endpoint, use_endpoint
from test_ui import served, text_of

from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.mirroring.upload import part_name
from segsweep.orchestrator.ui import fetching
from segsweep.orchestrator.ui.fetching import Fetched
from segsweep.trainables.addresses import Address, Remotes

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # MLflow's, SQLite's
]
STORAGE = "s3://sweeps/nightly"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with s3_endpoint("sweeps") as client:
        yield client


@pytest.fixture
def launched(bucket: Any, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where a sweep was launched that is kept in the bucket."""
    use_endpoint(bucket, monkeypatch)
    home = tmp_path / "first"
    home.mkdir()
    shutil.copy(empty_store, home / "mlflow.db")
    (home / "real.yaml").write_text(REAL)
    with monkeypatch.context() as here:
        here.chdir(home)
        here.setenv("SEGSWEEP_CACHE", str(home / "cache"))
        here.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
        done = CliRunner().invoke(
            cli, ["launch", "real.yaml", "--in-process", "--quiet", "--storage", STORAGE], catch_exceptions=False
        )
    assert done.exit_code == 0, done.output
    return home


def test_sweeps_of_a_bucket_are_shown_wherever_one_looks(launched: Path, bucket: Any, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    for home in (launched, tmp_path / "second"):
        with served(home, "--no-mlflow", "--storage", STORAGE) as site:
            index = text_of(site.get("/"))
            assert "real-1 done 4 of 4 trials" in index
            assert f"Sweeps: {STORAGE}" in index
            assert "Learning curves" in text_of(site.get("/sweeps/real-1"))
            report = site.report("/sweeps/real-1/report")
            assert "The answer" in report.text
            assert ("data:image/jpeg" in report.text) == (home == launched)  # where the checkpoints are


def test_a_bucket_that_is_not_there_is_told_on_the_page(bucket: Any, tmp_path: Path, monkeypatch: Any) -> None:
    use_endpoint(bucket, monkeypatch)
    with served(tmp_path, "--no-mlflow", "--storage", "s3://nowhere/nightly") as site:
        assert "no such bucket" in text_of(site.get("/"))


def test_journals_are_fetched_again_where_they_grew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "EVERY_S", 0.0)
    storage = Address.of(f"file://{tmp_path}/far")
    for name in ("one", "two"):
        Remotes(storage / name).write(part_name(0), b"first\n")
    fetched = Fetched(storage)

    def journals() -> dict[str, tuple[str, int]]:
        files = {name: folder / "journal.jsonl" for name, folder in fetched.folders.items()}
        return {name: (file.read_text(), file.stat().st_ino) for name, file in files.items()}

    fetched.look()
    before = journals()
    assert {name: text for name, (text, _) in before.items()} == {"one": "first\n", "two": "first\n"}
    Remotes(storage / "two").write(part_name(0), b"first\nsecond\n")
    deadline = time.monotonic() + 20
    while journals() == before:
        assert time.monotonic() < deadline
        fetched.look()
        time.sleep(0.01)
    assert journals()["one"] == before["one"]  # the same file
    assert journals()["two"][0] == "first\nsecond\n"
