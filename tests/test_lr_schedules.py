"""Every LR schedule of the catalogue: hand-computed values, warm-up, exact resume."""

from __future__ import annotations

from math import cos, pi
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from segsweep.trainables.catalog import LR_SCHEDULES
from segsweep.trainables.components import Watchful

LR = 0.5
STEPS_PER_EPOCH, EPOCHS = 10, 4


def schedule_of(name: str, lrs: tuple[float, ...] = (LR,), **options: Any) -> LRScheduler:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs]
    component: Any = LR_SCHEDULES.get(name)
    return component.build(component.Options(**options), SGD(groups), STEPS_PER_EPOCH, EPOCHS)


def lr_of_updates(schedule: LRScheduler, updates: int) -> list[float]:
    """The lr of the first group at each of the next `updates` updates."""
    lrs = []
    for _ in range(updates):
        lrs.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return lrs


TOTAL = STEPS_PER_EPOCH * EPOCHS
WARMED = [name for name in LR_SCHEDULES.names() if name != "one_cycle"]  # which rises by itself

# at update 0, at the middle (20 of 40), at the last update (39 of 40), after training, as shares of lr
BY_HAND = [
    ("constant", {}, (1.0, 1.0, 1.0, 1.0)),
    ("poly", {}, (1.0, 0.5**0.9, 0.025**0.9, 0.0)),
    ("poly", {"power": 1.0, "min_factor": 0.2}, (1.0, 0.6, 0.2 + 0.8 * 0.025, 0.2)),
    ("cosine", {}, (1.0, 0.5, 0.0015413331334360, 0.0)),  # (1 + cos(pi * 39 / 40)) / 2
    ("cosine", {"min_factor": 0.1}, (1.0, 0.55, 0.1 + 0.9 * 0.0015413331334360, 0.1)),
    ("step", {}, (1.0, 0.1, 0.1, 0.01)),  # every 2 of 4 epochs
    ("step", {"every": 1, "gamma": 0.5}, (1.0, 0.25, 0.125, 0.0625)),
    ("multistep", {}, (1.0, 1.0, 0.01, 0.01)),  # at epochs 2.67 and 3.56
    ("multistep", {"milestones": [2, 3.9], "gamma": 0.5}, (1.0, 0.5, 0.25, 0.25)),
    ("exponential", {}, (1.0, 0.1, 0.01**0.975, 0.01)),
    ("exponential", {"gamma": 0.5}, (1.0, 0.25, 0.5**3.9, 0.0625)),
    ("cyclical", {}, (0.1, 0.1, 0.28, 0.1)),  # cycles of 10 updates; at 9 of 10 a fifth of the height is left
    ("cyclical", {"cycle_epochs": 1.6, "shrink": 0.5}, (0.1, 0.1 + 0.9 / 4, 0.1 + 0.9 * 0.875 / 4, 0.1 + 0.9 / 4)),
    ("warm_restarts", {"growth": 1}, (1.0, 0.5, (1 + cos(pi * 0.925)) / 2, 1.0)),  # cycles of 4/3 epochs
    ("warm_restarts", {"first_epochs": 1}, (1.0, 0.5, (1 + cos(pi * 0.225)) / 2, (1 + 2**-0.5) / 2)),
    ("warm_restarts", {"first_epochs": 4, "min_factor": 0.2}, (1.0, 0.6, 0.6 + 0.4 * cos(pi * 0.975), 1.0)),
    ("one_cycle", {}, (0.04, 4e-6 + (1 - 4e-6) * (1 + cos(pi * 9 / 28)) / 2, 4e-6, 4e-6)),  # at the top at update 11
    ("one_cycle", {"rise": 0.525, "start_factor": 0.5}, (0.5, 1.0, 4e-6, 4e-6)),  # at the top at update 20
    ("plateau", {}, (1.0, 1.0, 1.0, 1.0)),  # nothing was observed
]


@pytest.mark.parametrize(("name", "options", "expected"), BY_HAND)
def test_values_without_warmup(name: str, options: dict[str, Any], expected: tuple[float, ...]) -> None:
    lrs = lr_of_updates(schedule_of(name, **options), TOTAL + 1)
    got = [lrs[i] / LR for i in (0, TOTAL // 2, TOTAL - 1, TOTAL)]
    assert got == pytest.approx(expected, rel=1e-12, abs=1e-15)


# 1.5 epochs = 15 updates of warm-up, 25 of the curve: shares at 15 (progress 0), 20 (progress 0.2) and 39 (0.96)
BY_HAND_AFTER_WARMUP = [
    ("constant", (1.0, 1.0, 1.0)),
    ("poly", (1.0, 0.8**0.9, 0.04**0.9)),
    ("cosine", (1.0, 0.9045084971874737, 0.0039426493427611)),  # (1 + cos(0.2 pi)) / 2, (1 + cos(0.96 pi)) / 2
    ("step", (1.0, 0.1, 0.1)),  # its epochs are those of training, as multistep's
    ("multistep", (1.0, 1.0, 0.01)),
    ("exponential", (1.0, 0.01**0.2, 0.01**0.96)),
    ("cyclical", (0.1, 0.46, 0.388)),  # cycles of 0.625 epochs: 0.8 and 3.84 of them
    (
        "warm_restarts",
        (1.0, 0.9045084971874737, (1 + cos(pi * 0.93)) / 2),
    ),  # cycles of 2.5 / 7 epochs, twice, four times
    ("plateau", (1.0, 1.0, 1.0)),
]


@pytest.mark.parametrize(("name", "expected"), BY_HAND_AFTER_WARMUP)
def test_warmup_is_linear_per_update_and_the_curve_starts_where_it_ends(name: str, expected: tuple[float, ...]) -> None:
    shares = [lr / LR for lr in lr_of_updates(schedule_of(name, warmup_epochs=1.5, warmup_factor=0.1), TOTAL)]
    assert shares[:15] == pytest.approx([expected[0] * (0.1 + 0.9 * i / 15) for i in range(15)], rel=1e-12)
    assert (shares[15], shares[20], shares[39]) == pytest.approx(expected, rel=1e-12)


def test_the_cases_by_hand_cover_the_catalogue() -> None:
    assert {case[0] for case in BY_HAND} == set(LR_SCHEDULES.names())
    assert {case[0] for case in BY_HAND_AFTER_WARMUP} == set(WARMED)


def of_torch(name: str, optimizer: SGD, options: dict[str, Any]) -> list[float]:
    """What torch's class of this kind gives at every update, or at every update of an epoch."""
    scheduler: Any = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    per_epoch = name in {"StepLR", "MultiStepLR"}
    lrs = []
    for update in range(TOTAL):
        if name == "CosineAnnealingWarmRestarts" and update:
            scheduler.step(update / STEPS_PER_EPOCH)
        elif update and (not per_epoch or update % STEPS_PER_EPOCH == 0):
            scheduler.step()
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
    return lrs


@pytest.mark.parametrize(
    ("name", "options", "theirs", "their_options"),
    [
        ("step", {"every": 2}, "StepLR", {"step_size": 2}),
        ("multistep", {"milestones": [1, 3], "gamma": 0.3}, "MultiStepLR", {"milestones": [1, 3], "gamma": 0.3}),
        ("exponential", {"gamma": 0.5}, "ExponentialLR", {"gamma": 0.5**0.1}),
        (
            "cyclical",
            {"cycle_epochs": 1.2, "shrink": 0.5},
            "CyclicLR",
            {"base_lr": LR / 10, "max_lr": LR, "step_size_up": 6, "mode": "triangular2", "cycle_momentum": False},
        ),
        ("warm_restarts", {"first_epochs": 1}, "CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 2}),
        ("cosine", {}, "CosineAnnealingLR", {"T_max": TOTAL}),
        ("poly", {"power": 0.9}, "PolynomialLR", {"total_iters": TOTAL, "power": 0.9}),
        (
            "one_cycle",
            {},
            "OneCycleLR",
            {"max_lr": LR, "total_steps": TOTAL, "div_factor": 25, "final_div_factor": 1e4, "cycle_momentum": False},
        ),
    ],
)
def test_every_update_has_the_lr_that_torch_would_give(
    name: str, options: dict[str, Any], theirs: str, their_options: dict[str, Any]
) -> None:
    torchs = of_torch(theirs, SGD([nn.Parameter(torch.zeros(1))], lr=LR), their_options)
    assert lr_of_updates(schedule_of(name, **options), TOTAL) == pytest.approx(torchs, rel=1e-9)


def test_plateau_falls_when_torchs_does() -> None:
    goodness = [0.1, 0.3, 0.3, 0.2, 0.1, 0.4, 0.3, 0.3, 0.3, 0.3, 0.5, 0.2]
    ours = schedule_of("plateau", patience=2, factor=0.5, min_factor=0.2)
    assert isinstance(ours, Watchful)
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    torchs = ReduceLROnPlateau(optimizer, "max", factor=0.5, patience=1, threshold=0.0, min_lr=0.2 * LR)
    found = []
    for value in goodness:
        torchs.step(value)
        ours.observe(value)
        assert lr_of_updates(ours, 2) == [optimizer.param_groups[0]["lr"]] * 2  # from the very next update on
        found.append(optimizer.param_groups[0]["lr"] / LR)
    assert found == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]


def test_a_plateau_during_warmup_lowers_what_comes_after_it() -> None:
    schedule = schedule_of("plateau", patience=1, warmup_epochs=1, warmup_factor=0.5)
    assert isinstance(schedule, Watchful)
    lrs = lr_of_updates(schedule, 5)
    schedule.observe(0.2)
    schedule.observe(0.1)
    assert [*lrs, *lr_of_updates(schedule, 6)] == pytest.approx([LR * (0.5 + 0.05 * i) for i in range(10)] + [LR / 10])


@pytest.mark.parametrize("name", WARMED)
def test_no_update_of_training_has_lr_zero(name: str) -> None:
    assert min(lr_of_updates(schedule_of(name, warmup_epochs=1), TOTAL)) > 0


@pytest.mark.parametrize("name", WARMED)
def test_groups_keep_the_ratio_of_their_learning_rates(name: str) -> None:
    schedule = schedule_of(name, lrs=(LR, LR / 10), warmup_epochs=1)
    for _ in range(TOTAL):
        first, second = (g["lr"] for g in schedule.optimizer.param_groups)
        assert second == pytest.approx(first / 10, rel=1e-12)
        schedule.optimizer.step()
        schedule.step()


@pytest.mark.parametrize("stop", [7, 10, 25])
@pytest.mark.parametrize("name", WARMED)
def test_resumed_schedule_gives_exactly_the_same_values(name: str, stop: int, tmp_path: Any) -> None:
    whole = lr_of_updates(schedule_of(name, warmup_epochs=1), TOTAL)
    first = schedule_of(name, warmup_epochs=1)
    lr_of_updates(first, stop)
    torch.save({"schedule": first.state_dict(), "optimizer": first.optimizer.state_dict()}, tmp_path / "last.pt")

    state = torch.load(tmp_path / "last.pt", weights_only=True)
    second = schedule_of(name, warmup_epochs=1)
    second.optimizer.load_state_dict(state["optimizer"])
    second.load_state_dict(state["schedule"])
    assert lr_of_updates(second, TOTAL - stop) == whole[stop:]


@pytest.mark.parametrize("warmup_epochs", [4.0, 5.5])
@pytest.mark.parametrize("name", WARMED)
def test_warmup_as_long_as_training_is_refused(name: str, warmup_epochs: float) -> None:
    component: Any = LR_SCHEDULES.get(name)
    options = component.Options(warmup_epochs=warmup_epochs)
    (problem,) = component.check(options, EPOCHS)
    assert problem.option == "warmup_epochs"
    assert problem.message == (
        f"a warm-up of {warmup_epochs:g} epochs leaves nothing of 4 epochs of training; choose a number below 4"
    )
    assert not list(component.check(options, 6))
    with pytest.raises(ValueError, match="warm-up of"):
        schedule_of(name, warmup_epochs=warmup_epochs)


@pytest.mark.parametrize("name", WARMED)
def test_warmup_that_rounds_to_all_of_a_short_training_leaves_one_update(name: str) -> None:
    lrs = lr_of_updates(schedule_of(name, warmup_epochs=3.99), TOTAL)
    assert lrs[-1] > lrs[-2]
    if name not in {"cyclical", "step"}:  # the one begins at its foot, the other has fallen by then
        assert lrs[-1] == LR


@pytest.mark.parametrize("name", [name for name in LR_SCHEDULES.names() if name != "cyclical"])
def test_training_of_a_single_update_runs_at_full_lr(name: str) -> None:
    component: Any = LR_SCHEDULES.get(name)
    schedule = component.build(component.Options(), SGD([nn.Parameter(torch.zeros(1))], lr=LR), 1, 1)
    assert lr_of_updates(schedule, 1) == [LR]


@pytest.mark.parametrize("name", LR_SCHEDULES.names())
def test_epoch_without_an_update_is_refused(name: str) -> None:
    component: Any = LR_SCHEDULES.get(name)
    with pytest.raises(ValueError, match="fewer train images than a batch"):
        component.build(component.Options(), SGD([nn.Parameter(torch.zeros(1))], lr=LR), 0, EPOCHS)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {"warmup_epochs": -1.0}) for name in WARMED),
        *((name, {"warmup_factor": 0.0}) for name in WARMED),
        ("step", {"every": 0}),
        ("multistep", {"milestones": [0]}),
        ("multistep", {"gamma": 1.5}),
        ("exponential", {"gamma": 0.0}),
        ("cyclical", {"min_factor": 0.0}),
        ("warm_restarts", {"growth": 0.5}),
        ("one_cycle", {"rise": 1.0}),
        ("plateau", {"factor": 1.0}),
        ("plateau", {"patience": 0}),
        ("poly", {"power": 0.0}),
        ("poly", {"min_factor": 1.5}),
        ("cosine", {"min_factor": -0.1}),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LR_SCHEDULES.get(name).Options(**options)


def test_milestones_outside_of_training_and_within_warmup_are_refused() -> None:
    component: Any = LR_SCHEDULES.get("multistep")
    options = component.Options(milestones=[1, 2, 4], warmup_epochs=1.5)
    assert [problem.message for problem in component.check(options, EPOCHS)] == [
        f"must be epochs from 1.5 (the end of warm-up) to below 4 (the end of training), not {value}"
        for value in (1, 4)
    ]
    with pytest.raises(ValueError, match="milestones: must be epochs from 0"):
        schedule_of("multistep", milestones=[9])


def test_a_patience_that_outlasts_training_is_refused_where_it_was_asked_for() -> None:
    component: Any = LR_SCHEDULES.get("plateau")
    (problem,) = component.check(component.Options(patience=9), 10)
    assert problem.option == "patience"
    assert problem.message == "9 epochs without a new best leave no epoch of 10 for a lower lr; give at most 8"
    assert not list(component.check(component.Options(patience=8), 10))
    assert not list(component.check(component.Options(), 2))


@pytest.mark.parametrize("steps_per_epoch", [1, 3, 250])
def test_a_fixed_number_of_updates_per_epoch_only_makes_the_curve_finer(steps_per_epoch: int) -> None:
    for name in LR_SCHEDULES.names():
        component: Any = LR_SCHEDULES.get(name)
        schedule = component.build(component.Options(), SGD([nn.Parameter(torch.zeros(1))], lr=LR), steps_per_epoch, 6)
        lrs = lr_of_updates(schedule, 6 * steps_per_epoch)
        assert max(lrs) == pytest.approx(LR, rel=0.05 if steps_per_epoch > 3 else 0.5), name
        assert min(lrs) > 0, name
