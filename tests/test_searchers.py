"""Searchers: never a duplicate, every point of a finite space, and the same proposals from the same history."""

from __future__ import annotations

import math
from typing import Any

import pytest

from segsweep.orchestrator.plan import SweepPlan
from segsweep.orchestrator.searchers import SEARCHERS, Searcher, Values
from segsweep.orchestrator.source import parse
from segsweep.orchestrator.state import TrialState
from segsweep.orchestrator.validation import check
from segsweep.trainables.config import Objective

OPEN_SPACE = """
datasets: [streets]
models: [{architecture: unet, encoder: resnet18}]
optimizers:
  - {type: adamw, lr: {loguniform: [1e-5, 1e-1], first: 1e-3}, weight_decay: {uniform: [0.0, 0.1]}}
trials: 40
epochs: 2
image_size: [64, 64]
"""
FINITE_SPACE = OPEN_SPACE.replace("{loguniform: [1e-5, 1e-1], first: 1e-3}", "{choice: [0.1, 0.01, 0.001, 0.0001]}")
FINITE_SPACE = FINITE_SPACE.replace("{uniform: [0.0, 0.1]}", "{choice: [0.0, 0.1, 0.2, 0.3, 0.4]}")


def plan_of(space: str) -> SweepPlan:
    return SweepPlan.of(check(parse(space, "space.yaml")).spec)


def build(name: str) -> Searcher:
    component: Any = SEARCHERS.get(name)
    return component.build(component.Options(), Objective())  # type: ignore[no-any-return]


def run(searcher: Searcher, plan: SweepPlan, known: list[tuple[Values, float]], trials: int) -> list[Values]:
    """Recall and observe what is known, then propose the rest; a value is good near lr 1e-3."""
    found: list[Values] = []
    for index in range(trials):
        combination = plan.order[index]
        values = known[index][0] if index < len(known) else searcher.propose(combination, index)
        trial = f"{index + 1:03d}"
        searcher.recall(combination, trial, values)
        state = TrialState(combination.config(trial, values), dict(values))
        lr: Any = values["optimizer.lr"]
        state.metrics.append({"val_miou": -abs(math.log10(lr / 1e-3))})
        state.best_epoch, state.status = 1, "finished"
        searcher.observe(state)
        found.append(values)
    return found


@pytest.mark.parametrize("name", SEARCHERS.names())
def test_a_finite_space_is_searched_to_its_last_point_without_a_duplicate(name: str) -> None:
    plan = plan_of(FINITE_SPACE)
    assert plan.trials == 20
    found = run(build(name), plan, [], 20)
    assert len({tuple(values.values()) for values in found}) == 20


@pytest.mark.parametrize("name", SEARCHERS.names())
@pytest.mark.parametrize("known", [0, 1, 7, 14, 29])
def test_proposals_after_a_replay_are_those_of_an_undisturbed_search(name: str, known: int) -> None:
    plan = plan_of(OPEN_SPACE)
    undisturbed = run(build(name), plan, [], 30)
    replayed = run(build(name), plan, [(values, 0.0) for values in undisturbed[:known]], 30)
    assert replayed == undisturbed


@pytest.mark.parametrize("name", SEARCHERS.names())
def test_the_published_value_is_the_first_point(name: str) -> None:
    assert run(build(name), plan_of(OPEN_SPACE), [], 1)[0]["optimizer.lr"] == 1e-3


def test_tpe_comes_nearer_to_the_good_values_than_random_search() -> None:
    def distance(name: str) -> float:
        found = run(build(name), plan_of(OPEN_SPACE), [], 40)[20:]
        lrs: list[Any] = [values["optimizer.lr"] for values in found]
        return sum(abs(math.log10(lr / 1e-3)) for lr in lrs) / len(lrs)

    tpe, uniform = distance("tpe"), distance("random")
    assert tpe < 0.8 * uniform


def test_entries_of_one_type_may_search_one_option_differently() -> None:
    plan = plan_of(
        OPEN_SPACE.replace("trials: 40", "trials: 3")
        + "lr_schedules:\n"
        + "  - {type: poly, warmup_epochs: {choice: [0, 1]}}\n"
        + "  - {type: cosine, warmup_epochs: {choice: [0, 0.5, 1]}}\n"
    )
    found = run(build("tpe"), plan, [], plan.trials)
    assert {values["lr_schedule.warmup_epochs"] for values in found} <= {0, 0.5, 1}
    assert len(found) == 6
