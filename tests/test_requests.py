"""pause, stop and cancel: asked from outside, heeded by the driver, and nothing is lost."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from scripted import plan_of, scripted
from waiting import wait_until

from segsweep.orchestrator.backends.in_process import InProcess
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.halting import Halt, Verb, heeding, request
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.errors import ExitCode, InputError
from segsweep.orchestrator.launching.launch import exit_code
from segsweep.orchestrator.record.journal import Journal

SPACE = """
datasets: [streets]
models: [{architecture: unet, encoder: resnet18}]
trials: 3
epochs: 4
image_size: [48, 80]
scheduler: fifo
"""
PLAN = plan_of(SPACE)
ENDS = {"pause": ("interrupted", 2), "stop": ("finished", 4), "cancel": ("interrupted", 2)}
"""How a trial ends that was asked in its second epoch, and after which; one process has cancel wait for the epoch."""


def run(folder: Path, verb: Verb | None, trial: int = 1) -> Sweep:
    """One trial after the other; in the second epoch of the given one, `verb` is asked for."""
    asked = itertools.count()

    def ask(assignment: Assignment, epoch: int) -> None:
        if verb is not None and epoch == 2 and next(asked) == trial - 1:
            request(folder, verb, "ann on desk")
            heeded.wait(10)

    heeded = threading.Event()
    with Journal(folder / "journal.jsonl", fsync=False) as journal:
        sweep = Sweep(PLAN, journal)

        def heed(halt: Halt) -> None:
            sweep.halt(halt)
            heeded.set()

        with heeding(folder, heed, lambda: ""):
            InProcess().run(sweep, scripted(ask))
    return sweep


@pytest.mark.parametrize("verb", ["pause", "stop", "cancel"])
def test_a_request_ends_the_sweep_and_a_resume_finishes_it(tmp_path: Path, verb: Verb) -> None:
    sweep = run(tmp_path, verb)
    trial = sweep.state.trials["001"]
    assert (trial.status, trial.epoch) == ENDS[verb]
    assert len(sweep.state.trials) == 1
    assert exit_code(sweep) == ExitCode.INTERRUPTED
    assert sweep.halted is not None
    assert sweep.halted.reason == f"{verb} was asked for by ann on desk"
    assert not list(tmp_path.glob("request*"))  # answered
    resumed = run(tmp_path, None)
    assert [(t.status, t.epoch) for t in resumed.state.trials.values()] == [("finished", 4)] * 3


@pytest.mark.parametrize(("verb", "code"), [("stop", ExitCode.DONE), ("cancel", ExitCode.INTERRUPTED)])
def test_letting_the_last_trial_finish_cuts_nothing_short(tmp_path: Path, verb: Verb, code: ExitCode) -> None:
    sweep = run(tmp_path, verb, trial=3)
    assert exit_code(sweep) == code
    assert sweep.halted is not None


def test_what_ends_at_once_outweighs_what_does_not(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl", fsync=False) as journal:
        sweep = Sweep(PLAN, journal)
        with heeding(tmp_path, sweep.halt, lambda: ""):
            request(tmp_path, "stop", "ann on desk")
            wait_until(lambda: sweep.halted is not None, "a halt", 10)
            assert not sweep.stopping
            request(tmp_path, "cancel", "bob on desk")
            wait_until(lambda: sweep.stopping, "the stop", 10)
            request(tmp_path, "pause", "ann on desk")
            time.sleep(1.5)
            assert sweep.halted is not None
            assert "bob" in sweep.halted.reason


def test_a_budget_that_is_overrun_halts_while_an_epoch_runs(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl", fsync=False) as journal:
        sweep = Sweep(PLAN, journal)
        with heeding(tmp_path, sweep.halt, lambda: "the budget of 1 hours is used up"):
            wait_until(lambda: sweep.stopping, "the stop", 10)
    assert exit_code(sweep) == ExitCode.BUDGET


def test_a_request_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl", fsync=False) as journal:
        sweep = Sweep(PLAN, journal)
        with heeding(tmp_path, sweep.halt, lambda: ""):
            (tmp_path / "request.json").write_text('{"verb": "dance", "who": "ann"}')
            time.sleep(1.5)
        assert sweep.halted is None


@pytest.mark.parametrize("verb", ["pause", "stop", "cancel"])
def test_a_sweep_that_does_not_run_cannot_be_asked(tmp_path: Path, verb: Verb) -> None:
    folder = tmp_path / "camvid-1"
    folder.mkdir()
    (folder / "journal.jsonl").touch()
    done = CliRunner().invoke(cli, [verb, "camvid-1", "--storage", str(tmp_path)])
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == "camvid-1: does not run; `segsweep status` tells how far it is"
    assert not list(folder.glob("request*"))


def test_a_running_sweep_is_asked_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "camvid-1"
    folder.mkdir()
    with Journal(folder / "journal.jsonl", fsync=False) as journal:
        sweep = Sweep(PLAN, journal)
        with heeding(folder, sweep.halt, lambda: ""):
            done = CliRunner().invoke(cli, ["pause", "camvid-1", "--storage", str(tmp_path)])
            assert done.exit_code == 0
            assert "segsweep resume" in done.output
            wait_until(lambda: sweep.halted is not None, "a halt", 10)
