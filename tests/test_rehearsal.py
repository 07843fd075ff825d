"""What a plan is expected to take: epochs, time and cost, before anything has run."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from scripted import plan_of
from spaces import BASE
from torch import nn

from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.forecasting.paces import Paces, measured_paces, recorded_paces
from segsweep.orchestrator.forecasting.rehearsal import rehearse
from segsweep.orchestrator.forecasting.summary import as_lines, summary
from segsweep.orchestrator.record.journal import AttemptEnded, AttemptStarted, EpochDone, Event, Journal, TrialCreated
from segsweep.orchestrator.record.trials import Cell
from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.orchestrator.schedulers import SCHEDULERS
from segsweep.trainables.catalog import MODELS
from segsweep.trainables.components import ComponentOptions, Task
from segsweep.trainables.training.timing import WARM_UP, Pace, measure

UNET = Cell("streets", "unet/resnet34")


def test_without_early_stopping_all_epochs_are_expected() -> None:
    found = rehearse(plan_of(f"{BASE}trials: 3\nscheduler: fifo\n"), workers=2)
    assert (found.epochs, found.makespan_s) == (27, 18)  # two trials at once, then the third


def test_what_a_trial_costs_is_not_known_yet_and_ends_none() -> None:
    asked = "more_objectives: [gmacs]\nconstraints: {params_m: {max: 1}, epoch_s: {max: 0.001}}\n"
    assert rehearse(plan_of(f"{BASE}trials: 3\nscheduler: fifo\n{asked}"), workers=2).epochs == 27


def test_halving_by_hand() -> None:
    plan = plan_of(f"{BASE}trials: 4\nscheduler: {{type: asha_promotion, grace: 1, reduction_factor: 2}}\n")
    # rungs at 1, 2, 4, 8: four trials train 1 epoch, two 1 more, one 7 more; the last pauses at 2, 4 and 8
    found = rehearse(plan, workers=1, paces={UNET: Pace(epoch_s=10, setup_s=1)})
    assert found.epochs == 4 + 2 + 7
    assert found.busy_s == found.makespan_s == 130 + (4 + 2 + 3)


def test_rungs_in_seconds_need_a_pace_and_those_in_iterations_stop_nobody() -> None:
    scheduler = "scheduler: {type: asha_promotion, grace: 10, unit: %s}\n"
    seconds, iterations = (plan_of(f"{BASE}trials: 4\n{scheduler % unit}") for unit in ("seconds", "iterations"))
    pace = {UNET: Pace(epoch_s=10, setup_s=0)}
    assert rehearse(seconds, workers=1, paces=pace).epochs == 4 + 2 + 7  # as in epochs with a grace of 1
    assert rehearse(seconds, workers=1).epochs == 36
    assert rehearse(iterations, workers=1, paces=pace).epochs == 36


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        # Rungs at 1 and 3 of 9 epochs, eta 3: of up to three trials only the best so far goes on, so a trial of 9
        # epochs is a new best, any other one takes 1. Orders of two: 2 with one new best, 1 each way -> 10, 18.
        (1, 9),
        (2, (10 + 18) / 2),
        # Orders of three: 2 with one new best, 3 with two, 1 with three.
        (3, (2 * 11 + 3 * 19 + 27) / 6),
    ],
)
def test_several_orders_are_averaged(trials: int, expected: float) -> None:
    plan = plan_of(f"{BASE}trials: {trials}\nscheduler: {{type: asha, grace: 1, reduction_factor: 3}}\n")
    assert rehearse(plan, workers=1).epochs == pytest.approx(expected, abs=1.5)  # 50 orders; deviation 5.4 at most


def test_a_cell_whose_trials_are_stopped_still_finishes_what_it_promised() -> None:
    text = f"{BASE}trials: 6\nscheduler: {{type: asha, grace: 1, reduction_factor: 3}}\n"
    assert rehearse(plan_of(f"{text}min_finished: 6\n"), workers=1).epochs == 54
    assert rehearse(plan_of(text), workers=1).epochs < 40


@pytest.mark.parametrize("name", SCHEDULERS.names())
def test_every_scheduler_can_be_rehearsed_and_gives_the_same_every_time(name: str) -> None:
    for trials in (1, 12):
        plan = plan_of(f"{BASE}trials: {trials}\nscheduler: {name}\n")
        found = rehearse(plan, workers=2)
        assert trials <= found.epochs <= 9 * trials
        assert found.epochs / 2 <= found.makespan_s <= found.epochs
        assert found == rehearse(plan, workers=2)


MANY = "models: [" + ", ".join(f"{{architecture: unet, name: m{i}}}" for i in range(100)) + "]"


def test_of_a_large_plan_a_part_is_rehearsed_and_scaled_up() -> None:
    text = BASE.replace("models: [unet]", MANY)
    plan = plan_of(f"{text}trials: 8\nscheduler: fifo\n")
    found = rehearse(plan, workers=4)
    assert (found.epochs, found.makespan_s) == (100 * 8 * 9, 100 * 8 * 9 / 4)
    halved = rehearse(plan_of(f"{text}trials: 8\nscheduler: {{type: asha_promotion, grace: 1}}\n"), workers=1)
    assert halved.epochs == pytest.approx(100 * (8 + 4 + 2 * 2 + 4 + 1), rel=0.01)  # 8, 4, 2, 1, 1 at 1, 2, 4, 8
    one_cell = rehearse(plan_of(f"{BASE}trials: 5000\nscheduler: fifo\n"), workers=4)
    assert (one_cell.epochs, one_cell.cells[UNET].trials) == (5000 * 9, 5000)
    assert one_cell.makespan_s == pytest.approx(5000 * 9 / 4, rel=0.01)


# -- where times come from --------------------------------------------------------------------------------------

TWO = """\
datasets: [streets, {type: streets, name: night, variant: night}]
models: [unet, fpn]
trials: 1
epochs: 4
scheduler: fifo
image_size: [64, 96]
"""


def record(folder: Path, cells: dict[str, float], text: str = TWO) -> Path:
    """A journal in which each model has one trial on streets: 3 s to set up, then two epochs of so many seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    times: Iterator[float] = itertools.chain.from_iterable(
        [0, 0, 3 + seconds, 3 + 2 * seconds, 3 + 2 * seconds] for seconds in cells.values()
    )
    by_model = {c.model.name: c for c in plan_of(text).combinations if c.dataset.name == "streets"}
    values: dict[str, Any] = {"optimizer.lr": 0.1, "optimizer.weight_decay": 0.0}
    with Journal(folder / "journal.jsonl", clock=lambda: next(times), fsync=False) as journal:
        for number, (model, seconds) in enumerate(cells.items(), 1):
            trial, metrics = str(number), {"val_miou": 0.5, "epoch_s": seconds}
            events: list[Event] = [
                TrialCreated(trial=trial, config=by_model[model].config(trial, values), values=values),
                AttemptStarted(trial=trial, attempt=1, cause="new"),
                EpochDone(trial=trial, attempt=1, epoch=1, metrics=metrics),
                EpochDone(trial=trial, attempt=1, epoch=2, metrics=metrics),
                AttemptEnded(trial=trial, attempt=1, status="finished", reason=""),
            ]
            for event in events:
                journal.append(event)
    return folder / "journal.jsonl"


def test_times_of_earlier_sweeps_are_means_and_cells_that_lack_them_take_their_neighbours(tmp_path: Path) -> None:
    first = record(tmp_path / "a", {"unet/resnet34": 10.0, "fpn/resnet34": 20.0})
    second = record(tmp_path / "b", {"unet/resnet34": 30.0})
    found = recorded_paces(plan_of(TWO), [first, second], gpus=0)
    assert found.cells[UNET] == Pace(epoch_s=20, setup_s=3)
    assert found.cells[Cell("streets", "fpn/resnet34")] == Pace(epoch_s=20, setup_s=3)
    assert found.assumed == {Cell("night", "unet/resnet34"), Cell("night", "fpn/resnet34")}
    third = plan_of(TWO.replace("[unet, fpn]", "[unet, fpn, linknet]"))
    found = recorded_paces(third, [record(tmp_path / "c", {"unet/resnet34": 10.0, "fpn/resnet34": 40.0})], gpus=0)
    assert found.cells[Cell("streets", "linknet/resnet34")] == Pace(epoch_s=25, setup_s=3)


@pytest.mark.parametrize(("change", "gpus"), [(("[64, 96]", "[32, 96]"), 0), (("unet, fpn", "linknet"), 0), (None, 1)])
def test_times_of_other_sizes_cells_and_devices_do_not_count(
    tmp_path: Path, change: tuple[str, str] | None, gpus: float
) -> None:
    journal = record(tmp_path / "old-1", {"unet/resnet34": 10.0})
    with pytest.raises(InputError, match=r"--times old-1: have no epoch of the plan's cells .*; name another sweep"):
        recorded_paces(plan_of(TWO.replace(*change) if change else TWO), [journal], gpus)


def test_plan_tells_time_and_cost_of_an_earlier_sweep(tmp_path: Path) -> None:
    record(tmp_path / "sweeps/old-1", {"unet/resnet34": 1000.0, "fpn/resnet34": 2000.0})
    file = tmp_path / "x.yaml"
    file.write_text(TWO + "max_concurrent: 1\nresources: {cpus: 1, gpus: 0}\n")
    asked = ["plan", str(file), "--times", "old-1", "--storage", str(tmp_path / "sweeps")]
    told = CliRunner().invoke(cli, asked, catch_exceptions=False).stdout
    facts = json.loads(CliRunner().invoke(cli, [*asked, "--json"], catch_exceptions=False).stdout)
    busy_s = 4 * (1000 + 2000 + 2 * 1500) + 4 * 3
    assert facts["time"] == {
        "source": "as in old-1",
        "wall_s": busy_s,
        "busy_s": busy_s,
        "device": "CPU",
        "device_hours": round(busy_s / 3600, 4),
    }
    assert [(c["epoch_s"], c["busy_s"], c["assumed"]) for c in facts["cells"]] == [
        (1000, 4003, False), (2000, 8003, False), (1500, 6003, True), (1500, 6003, True),
    ]  # fmt: skip
    assert "time          about 6.7 h with 1 trial at once, 6.7 CPU-hours; as in old-1" in told
    assert told.count("never timed, taken for the mean of the others") == 2
    by_path = [*asked[:3], str(tmp_path / "sweeps/old-1/journal.jsonl"), "--json"]
    assert json.loads(CliRunner().invoke(cli, by_path).stdout)["time"]["wall_s"] == busy_s


def test_without_times_the_plan_counts_epochs_and_names_the_remedy() -> None:
    facts = summary(plan_of(f"{BASE}trials: 3\nscheduler: fifo\n"), Capacity(cpus=2, gpus=0))
    assert (facts["makespan_epochs"], facts["time"]) == (18, None)
    line = "about that of 18 epochs with 2 trials at once; in minutes with --measure, or --times SWEEP"
    assert line in "\n".join(as_lines(facts))


def test_gpu_hours_count_the_share_of_a_gpu_that_a_trial_gets() -> None:
    plan = plan_of(f"{BASE}trials: 4\nscheduler: fifo\nresources: {{gpus: 0.5}}\n")
    facts = summary(plan, Capacity(cpus=8, gpus=1), Paces({UNET: Pace(epoch_s=100, setup_s=0)}, "told"))
    assert facts["time"]["wall_s"] == 2 * 9 * 100
    assert (facts["time"]["device"], facts["time"]["device_hours"]) == ("GPU", 0.5)  # half of 4 x 9 x 100 s


# -- measuring ----------------------------------------------------------------------------------------------------

STEP_S = 0.02


class Sleepy(nn.Conv2d):
    """Takes STEP_S for a batch, and a long time for the first ones."""

    def __init__(self, classes: int) -> None:
        super().__init__(3, classes, 1)
        self._seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        time.sleep(0.2 if self._seen < WARM_UP else STEP_S)
        self._seen += 1
        return super().forward(images)


@pytest.fixture
def sleepy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    component: Any = ModuleType("sleepy")
    component.Options = type("Options", (ComponentOptions,), {})
    component.encoder = lambda options: "none"
    component.family = lambda options: "cnn"
    component.check = lambda options, task: ()
    component.build = lambda options, task: Sleepy(task.num_classes)
    monkeypatch.setitem(MODELS._registered, "sleepy", component)


SMALL = """\
datasets: [{type: streets, size: [32, 48], train: 12, val: 6, test: 1}]
models: [{architecture: sleepy, name: sleepy}]
epochs: 2
batch_size: 2
image_size: [32, 48]
"""


@pytest.mark.usefixtures("sleepy")
def test_an_epoch_is_measured_in_its_batches_after_a_warm_up() -> None:
    (combination,) = plan_of(SMALL).combinations
    config = combination.config("x", {"optimizer.lr": 0.1, "optimizer.weight_decay": 0.0})
    pace = measure(config, cpus=1, gpus=0)
    sleeps = (6 + 3) * STEP_S  # 6 batches to train, 3 to score
    assert sleeps <= pace.epoch_s < 3 * sleeps
    assert 0 < pace.setup_s < 1


@pytest.mark.usefixtures("sleepy")
def test_a_cell_that_cannot_be_trained_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: ComponentOptions, task: Task) -> nn.Module:
        raise RuntimeError("no such layer")

    monkeypatch.setattr(MODELS.get("sleepy"), "build", fail)
    with pytest.raises(InputError, match="sleepy on streets: RuntimeError: no such layer"):
        measured_paces(plan_of(SMALL), Capacity(cpus=1, gpus=0), lambda line: None)


@pytest.mark.usefixtures("sleepy")
def test_plan_measures_on_request(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(SMALL + "trials: 1\nresources: {gpus: 0}\nmax_concurrent: 1\n")
    told = CliRunner().invoke(cli, ["plan", str(file), "--measure"], catch_exceptions=False)
    assert "timing sleepy on streets (1 of 1)\n" in told.stderr
    assert "at once, " in told.stdout
    assert "CPU-hours; measured on this machine\n" in told.stdout
    both = CliRunner().invoke(cli, ["plan", str(file), "--measure", "--times", "old"])
    assert "give one of them" in str(both.exception)
