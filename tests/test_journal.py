from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from segsweep.orchestrator.record.journal import DriverStarted, DriverStopped, Journal, JournalError, read_events


def started(pid: int) -> DriverStarted:
    return DriverStarted(pid=pid, host="h", backend="in_process")


def test_events_come_back_in_order_with_number_and_time(tmp_path: Path) -> None:
    clock = iter([10.0, 11.0])
    with Journal(tmp_path / "journal.jsonl", clock=lambda: next(clock)) as journal:
        journal.append(started(1))
        journal.append(DriverStopped(status="done"))
    events = [event for event, _ in read_events(tmp_path / "journal.jsonl")]
    assert [(e.event, e.seq, e.time) for e in events] == [("driver", 0, 10.0), ("driver_stopped", 1, 11.0)]


def test_events_of_one_decision_share_one_fsync_behind_the_last_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    durable: list[int] = []  # lines in the file at each fsync
    monkeypatch.setattr(os, "fsync", lambda _: durable.append(path.read_bytes().count(b"\n")))
    with Journal(path) as journal:
        journal.append(started(1))
        with journal.together():
            journal.append(started(2))
            with journal.together():
                journal.append(started(3))
            assert durable == [1]
        journal.append(started(4))
    assert durable == [1, 3, 4]


def test_a_torn_last_line_is_ignored_by_readers_and_dropped_by_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(started(1))
    with path.open("ab") as file:
        file.write(b'{"event": "driver", "pi')
    assert len(list(read_events(path))) == 1
    with Journal(path) as journal:
        journal.append(started(2))
    events = [event for event, _ in read_events(path)]
    assert [(e.seq, e.pid) for e in events if isinstance(e, DriverStarted)] == [(0, 1), (1, 2)]


def test_reading_goes_on_from_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(started(1))
        [(_, offset)] = read_events(path)
        journal.append(started(2))
    assert [event.seq for event, _ in read_events(path, offset)] == [1]


def test_a_line_that_is_no_event_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"event": "nonsense"}\n')
    with pytest.raises(JournalError, match=r"journal\.jsonl: the line that ends at byte 22 is no event"):
        list(read_events(path))


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl"), pytest.raises(JournalError, match="another segsweep process"):
        Journal(tmp_path / "journal.jsonl")


HOLDER = """
import sys, time
from pathlib import Path
from segsweep.orchestrator.record.journal import DriverStarted, Journal
journal = Journal(Path(sys.argv[1]))
journal.append(DriverStarted(pid=0, host="h", backend="in_process"))
print("held", flush=True)
time.sleep(60)
"""


def test_the_lock_goes_with_a_killed_driver(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(JournalError):
            Journal(path)
        holder.kill()
    with Journal(path) as journal:
        assert journal.append(started(1)).seq == 1
