"""Trials that hang are ended with their worker, whatever it does; what crashes leaves its last words in the journal."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import scripted as script
from scripted import Mishap, plan_of, scripted

from segsweep.orchestrator.backends import Backend
from segsweep.orchestrator.backends.in_process import InProcess
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.sweep import LOG_TAIL, Sweep
from segsweep.orchestrator.record.journal import AttemptEnded, Journal, read_events
from segsweep.orchestrator.watching.why import as_lines, facts

SPACE = """
datasets: [{type: streets, name: day}]
models: [{architecture: unet, encoder: resnet18}]
trials: 3
epochs: 2
image_size: [48, 80]
scheduler: fifo
"""


def run(backend: Backend, folder: Path, mishap: Mishap, more: str = "") -> Sweep:
    plan = plan_of(SPACE + more)
    with Journal(folder / "journal.jsonl", fsync=False) as journal:
        sweep = Sweep(plan, journal)
        backend.run(sweep, scripted(mishap))
    return sweep


def ends(folder: Path, trial: str) -> list[AttemptEnded]:
    events = [event for event, _ in read_events(folder / "journal.jsonl")]
    return [event for event in events if isinstance(event, AttemptEnded) and event.trial == trial]


@contextmanager
def taken(port: int) -> Iterator[None]:
    """As another Ray on the machine does; maybe there is one."""
    with socket.socket() as other:
        with suppress(OSError):
            other.bind(("127.0.0.1", port))
            other.listen()
        yield


@pytest.fixture(scope="module")
def ray_tune(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Beside another Ray, as far as the port goes at which its agent listens."""
    from segsweep.orchestrator.launching.ray_session import ray_session

    with taken(52365), ray_session(tmp_path_factory.mktemp("ray"), cpus=1, gpus=0):
        from ray import cloudpickle

        from segsweep.orchestrator.backends.ray_tune import RayTune

        for module in (sys.modules[__name__], script):  # workers cannot import these files
            cloudpickle.register_pickle_by_value(module)
        yield RayTune()


def compute_for_hours(assignment: Assignment, epoch: int) -> None:
    """In C, with the interpreter's lock held and signals ignored, from its first epoch on."""
    if assignment.trial == "001":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        re.match("(a+)+$", "a" * 99 + "b")


def stand_still(assignment: Assignment, epoch: int) -> None:
    """As a process in the debugger does, from its second epoch on."""
    if assignment.trial == "001" and epoch == 2:
        os.kill(os.getpid(), signal.SIGSTOP)


@pytest.mark.ray
@pytest.mark.parametrize(("mishap", "epochs"), [(compute_for_hours, 0), (stand_still, 1)])
def test_a_hanging_trial_loses_its_worker_and_the_sweep_goes_on(
    ray_tune: Backend, tmp_path: Path, mishap: Mishap, epochs: int
) -> None:
    """One CPU: the other trials can only run once the worker is gone."""
    began = time.monotonic()
    sweep = run(ray_tune, tmp_path, mishap, "max_epoch_minutes: 0.05\nmax_failures: 1")
    assert [trial.status for trial in sweep.state.trials.values()] == ["failed", "finished", "finished"]
    reasons = [end.reason for end in ends(tmp_path, "001")]
    assert reasons == ["no epoch within 0.05 min (max_epoch_minutes)"] * 2
    assert sweep.state.trials["001"].epoch == epochs
    assert time.monotonic() - began < 60


class Worker(SimpleNamespace):
    """A Tune trial, as far as its hanging goes."""

    def __init__(self, name: str) -> None:
        super().__init__(trial_id=name, status="RUNNING", temporary_state=SimpleNamespace(ray_actor=name))


@pytest.mark.ray
def test_only_time_in_which_the_driver_looked_counts_against_a_trial() -> None:
    from segsweep.orchestrator.backends._hangs import Hangs

    now, killed, trials = [0.0], list[str](), [Worker("quick"), Worker("slow")]
    hangs = Hangs(1.0, killed.append, lambda: now[0])

    def look(after_s: float) -> None:
        now[0] += after_s
        hangs.on_step_begin(0, trials)

    for _ in range(50):
        look(1.0)
    look(3600.0)  # the driver was held up: it counts for two seconds, and a result may wait
    assert killed == []
    hangs.on_trial_result(0, trials, trials[0], {"segsweep": ({}, (1, {}, ""))})
    for _ in range(9):
        look(1.0)
    assert killed == ["slow"]
    look(1.0)
    assert killed == ["slow"]
    assert (hangs.reason(trials[0]), hangs.reason(trials[1])) == ("", "no epoch within 1 min (max_epoch_minutes)")


class BrokenError(Exception):
    pass


def fall_over(assignment: Assignment, epoch: int) -> None:
    if assignment.trial == "001":
        raise BrokenError("first line\nsecond line")
    if assignment.trial == "002" and assignment.attempt == 1:
        raise BrokenError("x" * LOG_TAIL)


@pytest.mark.parametrize("name", ["in_process", pytest.param("ray_tune", marks=pytest.mark.ray)])
def test_why_shows_the_tail_of_the_traceback(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    backend = InProcess() if name == "in_process" else request.getfixturevalue(name)
    run(backend, tmp_path, fall_over, "max_failures: 1")
    told = list(as_lines(facts(tmp_path, "001")))
    assert "failed after 0 of 2 epochs: BrokenError: first line." in told[0]
    log = told[told.index("The last lines of its log:") + 1 :]
    assert any(line.endswith("in fall_over") for line in log)
    assert [line.strip() for line in log][-1] == "second line"
    assert [len(end.log) for end in ends(tmp_path, "002")] == [LOG_TAIL, 0]
    again = list(as_lines(facts(tmp_path, "002")))
    assert " finished after 2 of 2 epochs" in again[0]
    assert "The last lines of its log when it crashed:" in again


def crash_in_c(assignment: Assignment, epoch: int) -> None:
    if assignment.trial == "001":
        ctypes.string_at(0)


@pytest.mark.ray
def test_why_shows_where_a_worker_crashed(ray_tune: Backend, tmp_path: Path) -> None:
    run(ray_tune, tmp_path, crash_in_c)
    told = "\n".join(as_lines(facts(tmp_path, "001")))
    assert "Fatal Python error: Segmentation fault" in told
    assert "in crash_in_c" in told
