"""launch, resume, status, leaderboard and best as a user types them: exit codes, and what goes where."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from launched import TINY, Finished, Run, start, status_of
from waiting import wait_until

from segsweep.orchestrator.record.journal import EpochDone, read_events
from segsweep.orchestrator.tracking.reader import Reader

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # MLflow imports pydantic, starlette and sqlalchemy features that are going away
    "ignore::ResourceWarning",  # its SQLite connections are closed by the garbage collector
)

BOARD = ["model  streets", "tiny   *"]


def test_the_leaderboard_is_all_that_stdout_gets(finished: Finished) -> None:
    lines = finished.done.out.splitlines()
    assert finished.done.code == 0, finished.done.err
    assert [lines[0][: len(BOARD[0])], lines[2][: len(BOARD[1])]] == BOARD
    assert len(lines) == 4


def test_progress_goes_to_stderr_and_ends_with_the_next_command(finished: Finished) -> None:
    lines = finished.done.err.splitlines()
    assert lines[:3] == [
        *(f"streets: {n} images at 48x80" for n in ("8 train", "4 val")),
        "Sweep tiny-1 in sweeps/tiny-1",
    ]
    assert [line.split(" ", 1)[1].split(";")[0] for line in lines[3:-1]] == [
        "tiny cross_entropy adamw #001 on streets: started",
        "tiny cross_entropy adamw #001 on streets: finished after epoch 1: epoch limit",
        "tiny cross_entropy adamw #002 on streets: started",
        "tiny cross_entropy adamw #002 on streets: finished after epoch 1: epoch limit",
    ]
    assert lines[-1].startswith("2 trials, 0 failed. streets: tiny best, val_miou 0.")
    assert lines[-1].endswith(". Next: segsweep leaderboard tiny-1")


def test_status_tells_the_same_to_people_and_programs(finished: Finished, run: Run) -> None:
    facts = status_of(run, finished.folder)
    (cell,) = facts["cells"]  # type: ignore[misc]
    files = sum(file.stat().st_size for file in finished.folder.glob("trials/*/*"))
    assert 0 <= float(str(facts["disk_gib"])) - files / 2**30 < 0.001  # the journal is small
    counts = {key: facts[key] for key in ("sweep", "state", "trials", "planned", "by_status", "epochs")}
    assert counts == {
        "sweep": "tiny-1", "state": "done", "trials": 2, "planned": 2, "by_status": {"finished": 2}, "epochs": 2,
    }  # fmt: skip
    assert run("status", finished.folder).out.splitlines() == [
        "tiny-1: done. 2 of 2 trials (2 finished)",
        f"  streets tiny  {cell['best']:.4f} (#{cell['trial']})     2/2 trials, 2 finished",
        f"  {facts['disk_gib']:.3g} GiB in {finished.folder}",
        f"Next: segsweep leaderboard tiny-1 --tracking-uri {finished.uri}",
    ]


def test_the_next_command_that_was_printed_works(finished: Finished, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished.home)
    board = run(*finished.done.last_line.partition("Next: segsweep ")[2].split())
    assert (board.code, board.out) == (0, finished.done.out)


def test_a_finished_sweep_is_resumed_by_showing_it(finished: Finished, run: Run) -> None:
    journal = (finished.folder / "journal.jsonl").read_bytes()
    again = run("resume", finished.folder)
    assert (again.code, again.out) == (0, finished.done.out)
    assert again.err.splitlines()[:2] == [
        f"Sweep tiny-1 in {finished.folder}",
        "tiny-1 is done; nothing is left to run",
    ]
    assert (finished.folder / "journal.jsonl").read_bytes() == journal


def test_json_is_one_object_instead_of_the_board(finished: Finished, run: Run) -> None:
    again = run("resume", finished.folder, "--json")
    (line,) = again.out.splitlines()
    found = json.loads(line)
    cell = status_of(run, finished.folder)["cells"][0]  # type: ignore[index]
    best = {"trial": cell["trial"], "model": "tiny", "metric": "val_miou", "value": cell["best"]}
    uid = found.pop("sweep_uid")
    assert found == {
        "sweep": "tiny-1", "folder": str(finished.folder), "status": "done", "code": 0, "trials": {"finished": 2},
        "confirmations": {}, "best": {"streets": best}, "tracking_uri": finished.uri, "unsent": 0,
    }  # fmt: skip
    assert again.err.splitlines()[1] == "tiny-1 is done; nothing is left to run"
    assert run("leaderboard", uid, "--tracking-uri", finished.uri).out == finished.done.out


def test_a_sweep_ends_with_its_own_board_where_others_have_its_name(
    finished: Finished, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    shutil.copy(finished.home / "mlflow.db", tmp_path)
    done = run("launch", "tiny.yaml", "--in-process", "--set", "trials=1")  # tiny-1, as in the store already
    assert done.code == 0
    assert done.out.splitlines()[2].split()[2:4] == ["1", "1"]  # trials, finished


@pytest.mark.usefixtures("shared_store")
def test_best_prints_a_search_space_that_gives_the_same_value_again(
    finished: Finished, run: Run, tmp_path: Path
) -> None:
    best = run("best", "tiny-1", "--dataset", "streets", "--tracking-uri", finished.uri)
    (tmp_path / "best.yaml").write_text(best.out)
    again = run("launch", "best.yaml", "--in-process", "--quiet", "--name", "again")
    assert (again.code, again.err) == (0, "")
    values = [status_of(run, sweep)["cells"][0]["best"] for sweep in (finished.folder, "again")]  # type: ignore[index]
    assert values[1] == pytest.approx(values[0], abs=1e-9)
    assert again.out.splitlines()[2].startswith("tiny   *")  # quiet, but the result is printed


@pytest.mark.usefixtures("shared_store")
def test_interrupted_sweeps_exit_with_130_and_can_be_resumed(run: Run, tmp_path: Path) -> None:
    epochs = 3
    (tmp_path / "tiny.yaml").write_text(TINY)
    options = ("--set", f"epochs={epochs}", "--name", "cut", "--json")
    process = start(tmp_path, "launch", "tiny.yaml", "--in-process", *options)
    journal = tmp_path / "sweeps" / "cut" / "journal.jsonl"

    def has_begun() -> bool:
        assert process.poll() is None, process.communicate()[1]
        return journal.exists() and any(isinstance(e, EpochDone) for e, _ in read_events(journal))

    wait_until(has_begun, "an epoch")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["status"]) == (130, "interrupted"), err
    assert err.splitlines()[-1] == "cut stopped after 1 trials. Go on: segsweep resume cut"
    assert status_of(run, "cut")["state"] == "interrupted"

    resumed = run("resume", "cut", "--in-process")
    assert resumed.code == 0, resumed.err
    assert "tiny cross_entropy adamw #001 on streets: started (resume, from epoch" in resumed.err
    epochs_told = [(e.trial, e.epoch) for e, _ in read_events(journal) if isinstance(e, EpochDone) and not e.redone]
    assert epochs_told == [(trial, epoch) for trial in ("001", "002") for epoch in range(1, epochs + 1)]


@pytest.mark.usefixtures("shared_store")
def test_a_cell_without_a_finished_trial_is_exit_code_3(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    diverging = "optimizers=[{type: sgd, lr: 1e30, weight_decay: 0}]"
    done = run("launch", "tiny.yaml", "--in-process", "--set", diverging, "--name", "diverged")
    assert done.code == 3
    found = json.loads(run("resume", "diverged", "--json", "--quiet").out)
    assert (found["status"], found["code"], found["best"]) == ("failed_cells", 3, {})
    assert "#001 on streets: failed after epoch 0: DivergedError: " in done.err
    assert done.out.splitlines()[2].split()[:6] == ["tiny", "-", "(1", "failed)", "1", "0"]
    assert done.last_line == (
        "1 trials, 1 failed. streets: no finished trial; `segsweep why TRIAL diverged` tells why. "
        "Next: segsweep leaderboard diverged"
    )


@pytest.mark.usefixtures("shared_store")
def test_a_cell_that_breaks_a_constraint_says_so_everywhere(run: Run, finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    changes = ("--set", "constraints.gmacs.max=0.001", "--set", "max_epoch_minutes=30")
    done = run("launch", "tiny.yaml", "--in-process", *changes, "--name", "slim")
    assert "warning: max_epoch_minutes is not kept: only a worker of Ray" in done.err
    assert done.code == 3
    (cell,) = json.loads(run("status", "slim", "--json").out)["cells"]
    assert (cell["trials"], cell["finished"], cell["infeasible"]) == (2, 0, 2)
    assert "2/2 trials, 0 finished, 2 infeasible" in run("status", "slim").out
    assert "is above max 0.001; it was built, and not trained." in run("why", "1", "slim").out
    board = run("leaderboard", "slim").out
    assert "- (2 infeasible)" in board
    assert "all 2 trials are infeasible (last: gmacs" in board
    rows = [row for row in Reader(finished.uri).trials() if row.sweep == "slim"]
    assert [(row.status, row.value) for row in rows] == [("infeasible", None)] * 2
    assert done.last_line == (
        "2 trials, 0 failed, 2 infeasible. streets: no finished trial; `segsweep why TRIAL slim` tells why. "
        "Next: segsweep leaderboard slim"
    )


@pytest.mark.usefixtures("shared_store")
def test_trials_of_one_cell_may_have_different_image_and_batch_sizes(
    run: Run, finished: Finished, tmp_path: Path
) -> None:
    sizes = "image_size={choice: [[24, 40], [48, 80]]}"
    (tmp_path / "tiny.yaml").write_text(TINY + "optimizers: [{type: sgd, lr: 0.01, weight_decay: 0}]\n")
    done = run(
        *("launch", "tiny.yaml", "--in-process", "--set", sizes, "--set", "batch_size={choice: [2, 4]}"),
        *("--set", "trials=9", "--set", "searcher=grid", "--name", "sized"),
    )
    assert done.code == 0, done.err
    rows = [row for row in Reader(finished.uri).trials() if row.sweep == "sized"]
    configs = {row.trial_id: row.config for row in rows}
    found = {(c.image_size, c.batch_size): trial for trial, c in configs.items() if c is not None}
    assert len(found) == len(rows) == 4
    assert found.keys() == {((h, w), n) for h, w in ((24, 40), (48, 80)) for n in (2, 4)}
    gmacs = {row.trial_id: row.gmacs for row in rows}
    small, large = gmacs[found[(24, 40), 2]], gmacs[found[(48, 80), 2]]
    assert small is not None
    assert large is not None
    assert large / small == pytest.approx(3, rel=0.02)  # padded to 64x96 and 32x64
    assert "batch_size 2, image_size [24, 40]" in run("why", found[(24, 40), 2], "sized").out
    (tmp_path / "best.yaml").write_text(run("best", "sized", "--dataset", "streets").out)
    (best,) = json.loads(run("plan", "best.yaml", "--json").out)["cells"]
    assert best["trials"] == 1
