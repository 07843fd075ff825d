"""The index of the leaderboard: the same trials as the store has, however the store came to be what it is."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from recorded_sweeps import a_config, go_on, record

from segsweep.orchestrator.board.index import Index, place
from segsweep.orchestrator.board.leaderboard import read_board
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    AttemptStarted,
    DriverStarted,
    EndStatus,
    EpochDone,
    Event,
    TrialCreated,
)
from segsweep.orchestrator.tracking.reader import Reader
from segsweep.orchestrator.tracking.reading.client_store import ClientStore
from segsweep.orchestrator.tracking.reading.sqlite_store import SqliteStore
from segsweep.orchestrator.tracking.reading.stored import Query, StoredRun
from segsweep.orchestrator.tracking.store import connect, resolve_uri, sqlite_path
from segsweep.trainables.config import TrialConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of MLflow

START_S = 1_700_000_000


@pytest.fixture
def uri(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    shutil.copy(empty_store, tmp_path)
    return resolve_uri("sqlite:///mlflow.db", tmp_path)


def a_trial(trial: str, value: float, confirms: str = "") -> list[Event]:
    config = a_config(trial, "day", "unet")
    return [
        TrialCreated(trial=trial, config=config, values={}, confirms=confirms),
        AttemptStarted(trial=trial, attempt=1, cause="new"),
        EpochDone(trial=trial, attempt=1, epoch=1, metrics={"val_miou": value, "val_iou/car": value / 2}),
    ]


def end_of(trial: str) -> Event:
    return AttemptEnded(trial=trial, attempt=1, status="finished", reason="epoch limit")


def same(uri: str) -> int:
    """How many trials there are. Fails unless the index and the store itself say the same of each."""
    index, reader, count = Index(uri), Reader(uri), 0
    assert index.sweeps() == reader.sweeps()
    for kind in ("trial", "confirm"):
        for metric in ("val_miou", "val_iou/car"):
            rows = reader.trials(kind=kind, metric=metric)
            assert index.trials(kind=kind, metric=metric) == rows
        count += len(rows)
    return count


def test_an_index_follows_a_store_through_all_that_happens_to_it(uri: str, tmp_path: Path) -> None:
    alpha, beta = tmp_path / "alpha-1", tmp_path / "beta-1"
    record(alpha, uri, [(a_config("001", "day", "unet"), [0.5, 0.3], "finished")], first_s=START_S)
    assert same(uri) == 1
    later = START_S + 10_000
    go_on(alpha, later, *a_trial("002", 0.4), *a_trial("003", 0.6))  # two run
    assert same(uri) == 3
    go_on(alpha, later + 60, end_of("002"))
    assert [row.status for row in Index(uri).trials()] == ["running", "finished", "finished"]
    assert same(uri) == 3
    record(beta, uri, [(a_config("001", "day", "fpn"), [0.7], "finished")], first_s=START_S - 9_000_000)
    assert same(uri) == 4
    go_on(alpha, later - 8_000_000, DriverStarted(pid=2, host="another", backend="in_process"), end_of("003"))
    assert same(uri) == 4  # though 003 ended long before what was read last, by that machine's clock
    go_on(alpha, later + 100, *a_trial("004", 0.55, confirms="003"), end_of("004"))
    assert same(uri) == 5
    client = connect(uri)
    gone = next(row.run_id for row in Index(uri).trials() if row.trial_id == "002")
    client.delete_run(gone)
    assert same(uri) == 4
    client.restore_run(gone)
    assert same(uri) == 5
    client.delete_run(next(sweep.run_id for sweep in Index(uri).sweeps() if sweep.name == "beta-1"))
    assert [sweep.name for sweep in Index(uri).sweeps()] == ["alpha-1"]
    assert len(Index(uri).trials()) == 3


def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs each question to the store brought, from now on."""
    found: list[int] = []
    original = Reader.runs

    def counted(self: Reader, sweep_uid: str, ended_since_ms: int | None = None) -> list[StoredRun]:
        runs = original(self, sweep_uid, ended_since_ms)
        found.append(len(runs))
        return runs

    monkeypatch.setattr(Reader, "runs", counted)
    return found


def test_only_what_changed_is_read_again(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials: list[tuple[TrialConfig, list[float], EndStatus]] = [
        (a_config(f"{number:03}", "day", "unet"), [0.5], "finished") for number in range(1, 6)
    ]
    record(tmp_path / "alpha-1", uri, trials, first_s=START_S)
    record(tmp_path / "beta-1", uri, trials[:3], first_s=START_S)
    found = reads(monkeypatch)
    Index(uri)
    assert sorted(found) == [3, 5]
    found.clear()
    Index(uri)
    assert found == []
    go_on(tmp_path / "alpha-1", START_S + 10_000, *a_trial("006", 0.4), *a_trial("007", 0.4), end_of("007"))
    Index(uri)
    found.clear()
    go_on(tmp_path / "alpha-1", START_S + 20_000, end_of("006"))
    Index(uri)
    assert found == [2]  # 007 too, as it ended shortly before what was known last
    place(uri).unlink()
    found.clear()
    Index(uri)
    assert sorted(found) == [3, 7]


@pytest.mark.parametrize("what", ["garbage", "another version"])
def test_a_file_that_is_no_index_is_made_anew(uri: str, tmp_path: Path, what: str) -> None:
    record(tmp_path / "alpha-1", uri, [(a_config("001", "day", "unet"), [0.5], "finished")])
    place(uri).parent.mkdir(parents=True)
    if what == "garbage":
        place(uri).write_bytes(b"garbage" * 1000)
    else:
        with sqlite3.connect(place(uri)) as database:
            database.executescript("CREATE TABLE runs (other); PRAGMA user_version = 99;")
    assert same(uri) == 1
    assert place(uri).read_bytes().startswith(b"SQLite format 3")


def test_a_server_that_is_away_is_shown_as_it_was_and_the_board_says_so(uri: str, tmp_path: Path) -> None:
    record(tmp_path / "alpha-1", uri, [(a_config("001", "day", "unet"), [0.5], "finished")])
    assert read_board(uri).warnings == ()
    away = "http://127.0.0.1:1"
    with pytest.raises(InputError, match="no MLflow server answers there"):
        read_board(away)
    shutil.copy(place(uri), place(away))
    board = read_board(away)
    assert board.lines[0].scores["day"].value == 0.5
    (warning,) = board.warnings
    assert warning.startswith("this is as of ")
    assert "no MLflow server answers there" in warning


def plain(run: StoredRun) -> str:
    """Equal texts for equal runs: NaN is not equal to itself."""
    return repr((run[:4], *(sorted(part.items()) for part in (run.tags, run.params, run.metrics))))


def test_tables_read_directly_are_what_the_client_says(uri: str, tmp_path: Path) -> None:
    trials: list[tuple[TrialConfig, list[float], EndStatus]] = [
        (a_config("001", "day", "unet"), [0.5, float("nan")], "finished"),
        (a_config("002", "it's", "fpn"), [], "failed"),
    ]
    record(tmp_path / "alpha-1", uri, trials)
    path = sqlite_path(uri)
    assert path is not None
    queries = [
        Query({"segsweep.kind": "trial"}),
        Query({"segsweep.kind": "sweep"}),
        Query({"segsweep.dataset": "it's"}),
        Query({}, ended_since_ms=1_700_000_150_000),
        Query({"segsweep.kind": "trial"}, deleted=True),
    ]
    for query in queries:
        direct, client = list(SqliteStore(path).search(query)), list(ClientStore(uri).search(query))
        assert list(map(plain, direct)) == list(map(plain, client))
    run_id = next(iter(SqliteStore(path).search(queries[0]))).run_id
    assert SqliteStore(path).history(run_id, "epoch_s") == ClientStore(uri).history(run_id, "epoch_s")


def test_a_board_that_has_not_changed_needs_no_mlflow(uri: str, tmp_path: Path) -> None:
    record(tmp_path / "alpha-1", uri, [(a_config("001", "day", "unet"), [0.5], "finished")])
    code = (
        "import sys; from segsweep.orchestrator.board.leaderboard import read_board;"
        f"print(read_board({uri!r}).lines[0].model, {{'mlflow', 'numpy', 'scipy', 'torch'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "unet/resnet18 set()\n"
