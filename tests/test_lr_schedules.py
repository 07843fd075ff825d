"""Every LR schedule of the catalogue: hand-computed values, warm-up, exact resume."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler

from segsweep.trainables.catalog import LR_SCHEDULES

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

# at update 0, at the middle (20 of 40), at the last update (39 of 40), after training, as shares of lr
BY_HAND = [
    ("constant", {}, (1.0, 1.0, 1.0, 1.0)),
    ("poly", {}, (1.0, 0.5**0.9, 0.025**0.9, 0.0)),
    ("poly", {"power": 1.0, "min_factor": 0.2}, (1.0, 0.6, 0.2 + 0.8 * 0.025, 0.2)),
    ("cosine", {}, (1.0, 0.5, 0.0015413331334360, 0.0)),  # (1 + cos(pi * 39 / 40)) / 2
    ("cosine", {"min_factor": 0.1}, (1.0, 0.55, 0.1 + 0.9 * 0.0015413331334360, 0.1)),
]


@pytest.mark.parametrize(("name", "options", "expected"), BY_HAND)
def test_values_without_warmup(name: str, options: dict[str, Any], expected: tuple[float, ...]) -> None:
    lrs = lr_of_updates(schedule_of(name, **options), TOTAL + 1)
    got = [lrs[i] / LR for i in (0, TOTAL // 2, TOTAL - 1, TOTAL)]
    assert got == pytest.approx(expected, rel=1e-12, abs=1e-15)


# 1.5 epochs = 15 updates of warm-up, 25 of decay; middle of the decay is update 15 + 12.5: shares at 20 (progress 0.2)
BY_HAND_AFTER_WARMUP = [
    ("constant", (1.0, 1.0)),
    ("poly", (0.8**0.9, 0.04**0.9)),
    ("cosine", (0.9045084971874737, 0.0039426493427611)),  # (1 + cos(0.2 pi)) / 2, (1 + cos(0.96 pi)) / 2
]


@pytest.mark.parametrize(("name", "expected"), BY_HAND_AFTER_WARMUP)
def test_warmup_is_linear_per_update_and_the_curve_starts_where_it_ends(name: str, expected: tuple[float, ...]) -> None:
    shares = [lr / LR for lr in lr_of_updates(schedule_of(name, warmup_epochs=1.5, warmup_factor=0.1), TOTAL)]
    assert shares[:15] == pytest.approx([0.1 + 0.9 * i / 15 for i in range(15)], rel=1e-12)
    assert shares[15] == 1.0
    assert (shares[20], shares[39]) == pytest.approx(expected, rel=1e-12)


def test_the_cases_by_hand_cover_the_catalogue() -> None:
    assert {case[0] for case in BY_HAND} == {case[0] for case in BY_HAND_AFTER_WARMUP} == set(LR_SCHEDULES.names())


@pytest.mark.parametrize("name", LR_SCHEDULES.names())
def test_no_update_of_training_has_lr_zero(name: str) -> None:
    assert min(lr_of_updates(schedule_of(name, warmup_epochs=1), TOTAL)) > 0


@pytest.mark.parametrize("name", LR_SCHEDULES.names())
def test_groups_keep_the_ratio_of_their_learning_rates(name: str) -> None:
    schedule = schedule_of(name, lrs=(LR, LR / 10), warmup_epochs=1)
    for _ in range(TOTAL):
        first, second = (g["lr"] for g in schedule.optimizer.param_groups)
        assert second == pytest.approx(first / 10, rel=1e-12)
        schedule.optimizer.step()
        schedule.step()


@pytest.mark.parametrize("stop", [7, 10, 25])
@pytest.mark.parametrize("name", LR_SCHEDULES.names())
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
@pytest.mark.parametrize("name", LR_SCHEDULES.names())
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


@pytest.mark.parametrize("name", LR_SCHEDULES.names())
def test_warmup_that_rounds_to_all_of_a_short_training_leaves_one_update(name: str) -> None:
    lrs = lr_of_updates(schedule_of(name, warmup_epochs=3.99), TOTAL)
    assert lrs[-1] == LR
    assert lrs[-2] < LR


@pytest.mark.parametrize("name", LR_SCHEDULES.names())
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
        *((name, {"warmup_epochs": -1.0}) for name in LR_SCHEDULES.names()),
        *((name, {"warmup_factor": 0.0}) for name in LR_SCHEDULES.names()),
        ("poly", {"power": 0.0}),
        ("poly", {"min_factor": 1.5}),
        ("cosine", {"min_factor": -0.1}),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LR_SCHEDULES.get(name).Options(**options)
