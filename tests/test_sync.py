"""The journal in MLflow: nothing arrives twice and nothing is held up, whatever went wrong before."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tracked import Recorder, dump, leave_confusions, points_of, runs_of

from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.record.journal import Stop
from segsweep.orchestrator.tracking import bulk, sender
from segsweep.orchestrator.tracking.ledger import Ledger
from segsweep.orchestrator.tracking.reader import Reader
from segsweep.orchestrator.tracking.runs import Runs
from segsweep.orchestrator.tracking.store import connect, resolve_uri
from segsweep.orchestrator.tracking.writer import sync

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # MLflow imports pydantic, starlette and sqlalchemy features that are going away
    "ignore::ResourceWarning",  # its SQLite connections are closed by the garbage collector
)


def test_syncing_again_sends_nothing_and_changes_nothing(recorder: Recorder) -> None:
    recorder.create()
    recorder.trial("001", [0.2, 0.5])
    sync(recorder.folder)
    before = dump(recorder.uri)
    assert sync(recorder.folder) == 0
    assert dump(recorder.uri) == before


def test_the_sync_command_says_how_much_it_sent(recorder: Recorder) -> None:
    recorder.create()
    recorder.trial("001", [0.2])
    result = CliRunner().invoke(cli, ["sync", str(recorder.folder)])
    assert result.output == "7 events sent. Next: segsweep leaderboard camvid-1\n"
    assert json.loads(CliRunner().invoke(cli, ["sync", str(recorder.folder), "--json"]).output)["sent"] == 0
    with pytest.raises(InputError, match=r"holds no journal\.jsonl"):
        sync(recorder.folder.parent)


def test_a_lost_ledger_is_rebuilt_from_the_runs_tags(recorder: Recorder) -> None:
    recorder.create()
    recorder.trial("001", [0.2, 0.5])
    recorder.start("002")
    recorder.epochs("002", [0.1])
    sync(recorder.folder)
    before = dump(recorder.uri)
    (recorder.folder / "tracking.json").unlink()
    sync(recorder.folder)
    assert dump(recorder.uri) == before
    recorder.epochs("002", [0.3], first=2)
    (recorder.folder / "tracking.json").unlink()
    sync(recorder.folder)
    assert points_of(recorder.uri, runs_of(recorder.uri)["002"].info.run_id, "val_miou") == [(1, 0.1), (2, 0.3)]


def test_a_resumed_trial_goes_on_in_its_run_and_redone_epochs_count_once(recorder: Recorder) -> None:
    recorder.create()
    recorder.start("001")
    recorder.epochs("001", [0.2, 0.3])
    recorder.end("001", "interrupted", "its driver died")
    sync(recorder.folder)
    first = runs_of(recorder.uri)["001"]
    assert first.info.status == "KILLED"
    recorder.drive()
    recorder.start("001", attempt=2, cause="resume")
    sync(recorder.folder)
    assert runs_of(recorder.uri)["001"].info.status == "RUNNING"
    recorder.epochs("001", [0.9], first=2, attempt=2, redone=True)
    recorder.epochs("001", [0.4], first=3, attempt=2)
    recorder.end("001", attempt=2)
    sync(recorder.folder)
    run = runs_of(recorder.uri)["001"]
    assert run.info.run_id == first.info.run_id
    assert run.info.status == "FINISHED"
    assert points_of(recorder.uri, run.info.run_id, "val_miou") == [(1, 0.2), (2, 0.3), (3, 0.4)]
    assert run.data.metrics["cpu_s"] == 8.0  # redone work costs


def test_a_stopped_trial_that_its_cell_needs_loses_its_stop_reason(recorder: Recorder) -> None:
    recorder.create()
    recorder.trial("001", [0.2], "stopped", reason="rung 1", stop=Stop(rung=1, cutoff=0.3, rank=2, of=2))
    sync(recorder.folder)
    recorder.start("001", attempt=2, cause="continue")
    recorder.epochs("001", [0.4], first=2, attempt=2)
    recorder.end("001", attempt=2)
    sync(recorder.folder)
    tags = runs_of(recorder.uri)["001"].data.tags
    assert (tags["segsweep.status"], tags["segsweep.stop_reason"], tags["segsweep.stop_rung"]) == (
        "finished",
        "epoch limit",
        "",
    )
    assert runs_of(recorder.uri)["001"].data.metrics["best_val_miou"] == 0.4


def test_sweeps_of_one_name_in_one_store_stay_apart(recorder: Recorder, tmp_path: Path) -> None:
    recorder.create()
    recorder.trial("001", [0.2])
    sync(recorder.folder)
    other = Recorder(tmp_path / "elsewhere" / "camvid-1", recorder.uri, first_s=1_800_000_000)
    other.create()
    other.trial("001", [0.3])
    other.journal.close()
    sync(other.folder)
    client = connect(recorder.uri)
    experiment = client.get_experiment_by_name("segsweep")
    runs = client.search_runs([experiment.experiment_id], "tags.`segsweep.trial_id` = '001'")
    assert len({run.data.tags["mlflow.parentRunId"] for run in runs}) == 2
    assert len({run.data.tags["segsweep.sweep_uid"] for run in runs}) == 2


def killed_sync(folder: Path, where: str) -> None:
    """Send the journal, but die by SIGKILL at the third saved ledger, or at the fourth run of a batch."""
    calls = itertools.count(1)

    def dying_at(call: int, real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **options: (
            os.kill(os.getpid(), signal.SIGKILL) if next(calls) == call else real(*args, **options)
        )

    sender.BATCH = 25
    if where == "runs made, ledger not written":
        Ledger.save = dying_at(3, Ledger.save)  # type: ignore[method-assign]
    else:
        bulk.insert = lambda *_: None
        Runs._update = dying_at(4, Runs._update)  # type: ignore[method-assign]
    sync(folder)


@pytest.mark.parametrize("where", ["runs made, ledger not written", "half of a batch sent"])
def test_a_writer_killed_at_the_worst_moment_leaves_nothing_double(
    recorder: Recorder, uri: str, where: str, tmp_path: Path, empty_store: Path
) -> None:
    recorder.create()
    for number in range(8):
        recorder.trial(f"{number:03d}", [0.1, 0.2 + number / 100])
    recorder.stop()
    process = multiprocessing.get_context("fork").Process(target=killed_sync, args=(recorder.folder, where))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    killed = runs_of(uri)
    assert killed  # it died after it had begun
    sync(recorder.folder)

    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    shutil.copy(empty_store, undisturbed / "mlflow.db")
    lines = (
        (recorder.folder / "journal.jsonl").read_text().replace(uri, resolve_uri("sqlite:///mlflow.db", undisturbed))
    )
    (undisturbed / "journal.jsonl").write_text(lines)
    sync(undisturbed)
    assert dump(uri) == dump(resolve_uri("sqlite:///mlflow.db", undisturbed))
    assert {run.info.run_id for run in killed.values()} <= {run.info.run_id for run in runs_of(uri).values()}


def test_runs_inserted_in_bulk_are_those_that_mlflow_writes_itself(
    recorder: Recorder, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.create()
    recorder.trial("001", [0.2, float("inf"), None])
    recorder.trial("002", [0.1], "failed", reason="x" * 9_000)
    recorder.start("003", model="m" * 300)
    sync(recorder.folder)
    plain = tmp_path / "plain"
    plain.mkdir()
    shutil.copy(empty_store, plain / "mlflow.db")
    uri = resolve_uri("sqlite:///mlflow.db", plain)
    (plain / "journal.jsonl").write_text((recorder.folder / "journal.jsonl").read_text().replace(recorder.uri, uri))
    monkeypatch.setattr("segsweep.orchestrator.tracking.bulk.insert", lambda *_: None)
    sync(plain)
    assert dump(recorder.uri) == dump(uri)
    assert _rows(recorder.uri) == _rows(uri)


def _rows(uri: str) -> dict[str, list[str]]:
    """The tables' rows without what differs from store to store."""
    differs = {"run_uuid", "artifact_uri"}
    found = {}
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
        database.row_factory = sqlite3.Row
        for table in ("runs", "params", "metrics", "latest_metrics", "tags"):
            rows = [dict(row) for row in database.execute(f"select * from {table}")]
            rows = [row for row in rows if not str(row.get("key")).endswith(("parentRunId", "sweep_uid"))]
            found[table] = sorted(repr([v for k, v in row.items() if k not in differs]) for row in rows)
    return found


def test_events_that_come_while_a_batch_is_sent_wait_for_the_next_one(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.create()
    recorder.trial("001", [0.2])
    send, trials = Runs.send, itertools.count(2)

    def send_while_trials_end(*args: Any) -> None:
        recorder.trial(f"{next(trials):03d}", [0.2])
        send(*args)

    monkeypatch.setattr(Runs, "send", send_while_trials_end)
    sending = sender.Sender(recorder.folder)
    assert not sending.step()
    assert set(runs_of(recorder.uri)) == {"", "001"}
    assert not sending.step()
    assert set(runs_of(recorder.uri)) == {"", "001", "002"}


def test_events_that_come_after_a_failed_batch_are_sent_with_it(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise ConnectionError

    recorder.create()
    recorder.trial("001", [0.2])
    sending = sender.Sender(recorder.folder)
    with monkeypatch.context() as outage:
        outage.setattr(Runs, "send", down)
        with pytest.raises(ConnectionError):
            sending.step()
    recorder.trial("002", [0.2])
    while sending.step():
        pass
    assert sending.unsent == 0
    assert set(runs_of(recorder.uri)) == {"", "001", "002"}


def test_second_runs_are_looked_for_only_after_an_earlier_writer(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Runs] = []
    monkeypatch.setattr(Runs, "settle", lambda runs: looked.append(runs))
    recorder.create()
    recorder.trial("001", [0.2])
    sync(recorder.folder)
    assert not looked
    recorder.trial("002", [0.2])
    sync(recorder.folder)
    assert len(looked) == 1
    (recorder.folder / "tracking.json").unlink()
    sync(recorder.folder)
    assert len(looked) == 2


@pytest.mark.parametrize("may_delete", [True, False])
def test_a_run_whose_making_was_given_up_and_came_through_late_is_put_aside(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, may_delete: bool
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def forbidden(*_: object) -> None:
        raise MlflowException("not yours")

    recorder.create()
    recorder.trial("001", [0.2])
    sync(recorder.folder)
    before, client = dump(recorder.uri), connect(recorder.uri)
    for run in runs_of(recorder.uri).values():
        client.create_run(run.info.experiment_id, run.info.start_time + 1, run.data.tags, run.info.run_name)
    if not may_delete:
        monkeypatch.setattr(MlflowClient, "delete_run", forbidden)
    sync(recorder.folder)
    trials = Reader(recorder.uri).trials()
    assert [(row.trial_id, row.value) for row in trials] == [("001", 0.2)]
    assert len(Reader(recorder.uri).sweeps()) == 1
    if may_delete:
        assert dump(recorder.uri) == before


def test_files_that_mlflow_does_not_take_hold_no_number_back_and_are_sent_later(recorder: Recorder) -> None:
    recorder.create()
    recorder.start("001")
    leave_confusions(recorder, "001", 1)
    recorder.epochs("001", [0.4])
    recorder.end("001")
    in_the_way = recorder.folder.parents[1] / "mlruns"
    in_the_way.write_text("a file where the artifacts belong")
    with pytest.raises(InputError, match="0 events and 4 files are not sent"):
        sync(recorder.folder)
    run = runs_of(recorder.uri)["001"]
    assert run.data.metrics["best_val_miou"] == 0.4
    in_the_way.unlink()
    assert sync(recorder.folder) == 0
    client = connect(recorder.uri)
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["confusions.npz"]
    assert len(client.list_artifacts(run.data.tags["mlflow.parentRunId"])) == 3


def test_a_store_that_was_replaced_gets_the_whole_sweep_again(recorder: Recorder, empty_store: Path) -> None:
    recorder.create()
    recorder.trial("001", [0.2])
    sync(recorder.folder)
    client = connect(recorder.uri)
    parent = runs_of(recorder.uri)[""].info.run_id
    for run in runs_of(recorder.uri).values():
        client.delete_run(run.info.run_id)
    recorder.trial("002", [0.3])
    sync(recorder.folder)
    runs = runs_of(recorder.uri)
    assert set(runs) == {"", "001", "002"}
    assert runs[""].info.run_id != parent


def test_a_run_that_the_user_deleted_holds_nobody_up(recorder: Recorder) -> None:
    recorder.create()
    recorder.start("001")
    sync(recorder.folder)
    connect(recorder.uri).delete_run(runs_of(recorder.uri)["001"].info.run_id)
    recorder.epochs("001", [0.2])
    recorder.end("001")
    recorder.trial("002", [0.3])
    sync(recorder.folder)
    assert set(runs_of(recorder.uri)) == {"", "002"}
