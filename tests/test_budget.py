"""A budget is a hard stop, and what it leaves is a leaderboard: every cell keeps its finished trials."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import plan_of, scripted

from segsweep.orchestrator.backends.simulated import Simulated
from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.launching.launch import exit_code
from segsweep.orchestrator.launching.preflight import no_gpu_hours
from segsweep.orchestrator.record.journal import DriverStarted, DriverStopped, Journal, SweepExtended
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.orchestrator.resources.share import Share
from segsweep.orchestrator.space.source import parse

SPACE = """
datasets: [{type: streets, name: day}, {type: streets, name: night, variant: night}]
models: [{architecture: unet, encoder: resnet18}, {architecture: fpn, encoder: resnet18}]
trials: 9
epochs: 6
image_size: [48, 80]
min_finished: 2
resources: {gpus: 1}
"""


def run(folder: Path, budget: str, *, workers: int = 3, space: str = SPACE) -> Sweep:
    """In virtual time; an epoch takes 10 s."""
    plan = plan_of(f"{space}budget: {budget}")
    backend = Simulated(workers)
    with Journal(folder / "journal.jsonl", clock=backend.clock, fsync=False) as journal:
        sweep = Sweep(plan, journal, gpus=1.0)
        sweep.record(DriverStarted(pid=1, host="here", backend=backend.name))
        backend.run(sweep, scripted())
    return sweep


def finished(sweep: Sweep) -> list[int]:
    return [sweep.state.count(cell, "finished") for cell in sweep.plan.cells]


@pytest.mark.parametrize("workers", [1, 3, 7])
@pytest.mark.parametrize("epochs", [48, 50, 60, 90])
def test_no_epoch_beyond_the_budget_and_every_cell_filled(tmp_path: Path, epochs: int, workers: int) -> None:
    sweep = run(tmp_path, f"{{epochs: {epochs}}}", workers=workers)
    assert sweep.state.epochs.total() <= epochs
    assert min(finished(sweep)) >= 2
    assert exit_code(sweep) == 4
    assert not sweep.running
    assert sweep.halted is not None
    assert f"{epochs} epochs" in sweep.halted.reason


def test_a_budget_that_suffices_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "ample").mkdir()
    (tmp_path / "none").mkdir()
    ample = run(tmp_path / "ample", "{epochs: 100000, trials: 1000, gpu_hours: 1000, wall_hours: 1000}")
    assert exit_code(ample) == 0
    without = run(tmp_path / "none", "null")
    assert {t.id: (t.status, t.values, t.epoch) for t in ample.state.trials.values()} == {
        t.id: (t.status, t.values, t.epoch) for t in without.state.trials.values()
    }


def test_a_budget_of_trials_ends_after_them(tmp_path: Path) -> None:
    sweep = run(tmp_path, "{trials: 10}")
    assert len(sweep.state.trials) == 10
    assert min(finished(sweep)) >= 2
    assert exit_code(sweep) == 4


def test_gpu_hours_count_every_worker_and_wall_hours_do_not(tmp_path: Path) -> None:
    (tmp_path / "gpu").mkdir()
    (tmp_path / "wall").mkdir()
    gpu = run(tmp_path / "gpu", "{gpu_hours: 0.2}").state  # 720 s
    wall = run(tmp_path / "wall", "{wall_hours: 0.1}").state  # 360 s
    assert 600 <= gpu.seconds.total() <= 720
    assert gpu.epochs.total() in (71, 72)
    assert 300 <= wall.wall_s <= 360
    assert wall.epochs.total() > 72  # three workers


def test_a_resumed_sweep_has_what_was_left(tmp_path: Path) -> None:
    sweep = run(tmp_path, "{epochs: 50}")
    before = sweep.state.epochs.total()
    again = run(tmp_path, "{epochs: 50}")
    assert exit_code(again) == 4
    assert again.state.epochs.total() == before
    more = run(tmp_path, "{epochs: 70}")
    assert before < more.state.epochs.total() <= 70


def test_the_time_between_two_drivers_is_nobodys(tmp_path: Path) -> None:
    now = [0.0]
    with Journal(tmp_path / "journal.jsonl", clock=lambda: now[0], fsync=False) as journal:
        sweep = Sweep(plan_of(SPACE), journal)
        sweep.record(DriverStarted(pid=1, host="here", backend="none"))
        now[0] = 100.0
        assert sweep.next() is not None
        now[0] = 5000.0  # the driver died long ago
        sweep.interrupted("its driver died", lost="driver")
        sweep.record(DriverStarted(pid=2, host="here", backend="none"))
        now[0] = 5050.0
        assert sweep.next() is not None
        sweep.record(DriverStopped(status="interrupted"))
        now[0] = 9000.0  # the next day
        sweep.record(SweepExtended(spec=sweep.plan.spec.model_dump(mode="json"), change="nothing"))
        sweep.record(DriverStarted(pid=3, host="here", backend="none"))
    assert SweepState.load(tmp_path / "journal.jsonl").wall_s == pytest.approx(150.0)


def test_an_epoch_that_outlasts_the_budget_is_seen_while_it_runs(tmp_path: Path) -> None:
    now = [0.0]
    plan = plan_of(SPACE + "budget: {gpu_hours: 1}")
    with Journal(tmp_path / "journal.jsonl", clock=lambda: now[0], fsync=False) as journal:
        sweep = Sweep(plan, journal, gpus=1.0)
        sweep.grant(Share(gpus=0.5))
        sweep.record(DriverStarted(pid=1, host="here", backend="none"))
        assert sweep.next() is not None
        assert sweep.next() is not None
        assert sweep.spending.overrun(3599.0) == ""
        assert sweep.spending.overrun(3600.0) == "the budget of 1 GPU-hours is used up"


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("{trials: 7}", "budget.trials: must be at least 8, not 7: 4 cells x min_finished 2"),
        ("{epochs: 47}", "budget.epochs: must be at least 48, not 47: 4 cells x min_finished 2 x 6 epochs"),
        ("{gpu_hours: 0}", "budget.gpu_hours: must be above 0, not 0"),
        ("{wall_hours: .inf}", "budget.wall_hours: must be a finite number"),
        ("{}", "budget: must hold one or more of trials, epochs, gpu_hours, wall_hours"),
        ("{hours: 3}", "budget.hours"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(budget: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        check(parse(f"{SPACE}budget: {budget}", "space.yaml"))
    assert message in str(error.value)


def test_gpu_hours_without_gpus_are_refused() -> None:
    space = SPACE.replace("{gpus: 1}", "{gpus: 0}") + "budget: {gpu_hours: 3}"
    found = list(no_gpu_hours(check(parse(space, "space.yaml")).spec, Capacity(cpus=2, gpus=0)))
    message = "trials get no GPU here; limit wall_hours, epochs or trials instead"
    assert found == [(("budget", "gpu_hours"), message)]
