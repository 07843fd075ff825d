"""Searchers: never a duplicate, every point of a finite space, and the same proposals from the same history."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from typing import Any

import pytest
from pydantic import JsonValue
from scripted import plan_of

from segsweep.orchestrator.planning.plan import Combination, SweepPlan
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.searchers import SEARCHERS, Searcher, Values
from segsweep.orchestrator.searchers.quasi_random import coordinate
from segsweep.orchestrator.space.aims import Aim, Bounds
from segsweep.orchestrator.space.domains import at_fraction
from segsweep.orchestrator.space.domains import parse as parse_domain
from segsweep.orchestrator.space.source import parse
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


SINGLE = Aim()
TRADED = Aim(Objective(), (Objective(metric="gmacs"),), {"params_m": Bounds(max=2.0), "epoch_s": Bounds(max=0.09)})


def build(name: str, aim: Aim = SINGLE) -> Searcher:
    component: Any = SEARCHERS.get(name)
    return component.build(component.Options(), aim)  # type: ignore[no-any-return]


def run(searcher: Searcher, plan: SweepPlan, known: list[Values], trials: int, aim: Aim = SINGLE) -> list[Values]:
    """Recall and observe what is known, then propose the rest."""
    found: list[Values] = []
    for index in range(trials):
        combination = plan.order[index]
        values = known[index] if index < len(known) else searcher.propose(combination, index)
        tell(searcher, combination, index, values, aim)
        found.append(values)
    return found


def tell(searcher: Searcher, combination: Combination, index: int, values: Values, aim: Aim) -> None:
    """A trial with these values was made and ended."""
    trial = f"{index + 1:03d}"
    searcher.recall(combination, trial, values)
    searcher.observe(ended(TrialState(combination.config(trial, values), dict(values), index), aim))


def ended(trial: TrialState, aim: Aim) -> TrialState:
    """A value is good near lr 1e-3 and weight decay 0.1, which costs; lr above 1e-2 costs parameters.

    With several objectives every ninth trial fails.
    """
    lr: Any = trial.values["optimizer.lr"]
    decay: Any = trial.values.get("optimizer.weight_decay", 0.0)
    trial.facts = {"gmacs": 1 + 10 * decay, "params_m": 3.0 if lr > 1e-2 else 1.0}
    trial.status = (
        "infeasible" if aim.outside(trial) else "failed" if trial.index % 9 == 8 and aim != SINGLE else "finished"
    )
    if trial.status == "finished":
        trial.metrics.append({"val_miou": -abs(math.log10(lr / 1e-3)) - (0.1 - decay) ** 2 * 100, "epoch_s": decay})
        trial.best_epoch = 1
        trial.status = "infeasible" if aim.outside(trial) else "finished"
    return trial


@pytest.mark.parametrize("name", SEARCHERS.names())
def test_a_finite_space_is_searched_to_its_last_point_without_a_duplicate(name: str) -> None:
    plan = plan_of(FINITE_SPACE)
    assert plan.trials == 20
    found = run(build(name), plan, [], 20)
    assert len({tuple(values.values()) for values in found}) == 20


@pytest.mark.parametrize("name", SEARCHERS.names())
@pytest.mark.parametrize("aim", [SINGLE, TRADED], ids=["one objective", "two and constraints"])
@pytest.mark.parametrize("known", [0, 1, 7, 14, 29])
def test_proposals_after_a_replay_are_those_of_an_undisturbed_search(name: str, aim: Aim, known: int) -> None:
    plan = plan_of(OPEN_SPACE)
    undisturbed = run(build(name, aim), plan, [], 30, aim)
    replayed = run(build(name, aim), plan, undisturbed[:known], 30, aim)
    assert replayed == undisturbed


@pytest.mark.parametrize("name", SEARCHERS.names())
def test_the_published_value_is_the_first_point(name: str) -> None:
    assert run(build(name), plan_of(OPEN_SPACE), [], 1)[0]["optimizer.lr"] == 1e-3


NESTED_SPACE = """
datasets: [streets]
models: [{architecture: unet, encoder: resnet18}]
losses: [{type: focal, gamma: {choice: [1.0, {choice: [2.0, {int: [3, 5]}]}, 6.0]}}]
optimizers: [{type: adamw, lr: {choice: [0.1, 0.01]}, weight_decay: 0.0}]
batch_size: {logint: [1, 3]}
trials: 100
epochs: 2
image_size: [64, 64]
"""


@pytest.mark.parametrize("name", SEARCHERS.names())
def test_a_finite_space_with_choices_in_choices_is_searched_to_its_last_point(name: str) -> None:
    plan = plan_of(NESTED_SPACE)
    assert plan.trials == (1 + (1 + 3) + 1) * 2 * 3
    found = run(build(name), plan, [], plan.trials)
    configs = [plan.combinations[0].config("001", values) for values in found]
    assert {config.loss.options["gamma"] for config in configs} == {1.0, 2.0, 3, 4, 5, 6.0}
    assert len({config.model_dump_json() for config in configs}) == plan.trials


TWO_RANGES = """
  - {type: adamw, lr: {loguniform: [1e-4, 1e-2]}, weight_decay: {uniform: [0.0, 1.0], first: 0.4}}
"""


def test_a_grid_tries_both_ends_and_the_published_value_then_what_lies_between() -> None:
    head, tail = OPEN_SPACE.split("optimizers:")[0], OPEN_SPACE[OPEN_SPACE.index("trials:") :]
    component: Any = SEARCHERS.get("grid")
    searcher = component.build(component.Options(points=3), Aim())
    found = run(searcher, plan_of(f"{head}optimizers:{TWO_RANGES}{tail}"), [], 40)
    assert found[0]["optimizer.weight_decay"] == 0.4
    coarse = {(values["optimizer.lr"], values["optimizer.weight_decay"]) for values in found[:9]}
    assert coarse == {(lr, decay) for lr in (1e-4, 1e-3, 1e-2) for decay in (0.0, 0.4, 1.0)}
    fine = {values["optimizer.weight_decay"] for values in found[9:25]}
    assert fine == {0.0, 0.25, 0.4, 0.75, 1.0}  # now 0.5 is what 0.4 stands for


def test_the_first_points_of_a_grid_are_spread_over_every_range() -> None:
    found = run(build("grid"), plan_of(OPEN_SPACE), [], 10)  # of 25
    for path in ("optimizer.lr", "optimizer.weight_decay"):
        assert len({values[path] for values in found}) == 5


@pytest.mark.parametrize("base", [2, 3, 7])
def test_quasi_random_points_hit_every_part_of_a_range_once(base: int) -> None:
    parts = base**2
    for begin in (0, 5 * parts):
        hit = [int(parts * coordinate(begin + i, base, "0 lr")) for i in range(parts)]
        assert sorted(hit) == list(range(parts))


def test_quasi_random_search_takes_every_share_of_a_range_alike() -> None:
    found = run(build("quasi_random"), plan_of(OPEN_SPACE.replace(", first: 1e-3", "")), [], 36)
    lrs: list[Any] = [values["optimizer.lr"] for values in found]
    decays: list[Any] = [values["optimizer.weight_decay"] for values in found]
    quarters = Counter(math.floor(math.log10(lr)) for lr in lrs)
    assert quarters == {-5: 9, -4: 9, -3: 9, -2: 9}
    assert Counter(int(decay / 0.1 * 9) for decay in decays) == dict.fromkeys(range(9), 4)


def test_quasi_random_points_depend_on_seed_and_index_only() -> None:
    component: Any = SEARCHERS.get("quasi_random")

    def first_points(seed: int) -> list[Values]:
        return run(component.build(component.Options(seed=seed), Aim()), plan_of(OPEN_SPACE), [], 5)[1:]

    assert first_points(0) == first_points(0) != first_points(1)
    crossed = plan_of(OPEN_SPACE.replace("trials: 40", "trials: 5\nlosses: [dice, cross_entropy]"))
    found = run(build("quasi_random"), crossed, [], 10)
    assert found[::2] == found[1::2]  # both losses get the same points


@pytest.mark.parametrize(
    ("domain", "fraction", "value"),
    [
        ("{uniform: [2, 4]}", 0.25, 2.5),
        ("{loguniform: [1, 100]}", 0.5, 10.0),
        ("{int: [1, 4]}", 0.24, 1),
        ("{int: [1, 4]}", 0.76, 4),
        ("{logint: [1, 4]}", 0.5, 2),  # halfway, by logarithm, from 0.5 to 4.5 is 1.5
        ("{logint: [1, 4]}", 0.49, 1),
        ("{choice: [a, b, c]}", 0.34, "b"),
    ],
)
def test_a_fraction_of_a_domain(domain: str, fraction: float, value: JsonValue) -> None:
    found = at_fraction(parse_domain(parse(f"x: {domain}", "x.yaml").data["x"]), fraction)  # type: ignore[arg-type]
    assert found == pytest.approx(value)
    assert type(found) is type(value)


def test_tpe_comes_nearer_to_the_good_values_than_random_search() -> None:
    def distance(name: str) -> float:
        found = run(build(name), plan_of(OPEN_SPACE), [], 40)[20:]
        lrs: list[Any] = [values["optimizer.lr"] for values in found]
        return sum(abs(math.log10(lr / 1e-3)) for lr in lrs) / len(lrs)

    tpe, uniform = distance("tpe"), distance("random")
    assert tpe < 0.8 * uniform


def test_tpe_avoids_neighbours_of_infeasible_trials() -> None:
    """A quarter of the space is outside, by a fact: those trials never have a value."""
    aim = Aim(constraints={"params_m": Bounds(max=2.0)})

    def infeasible(searcher: str) -> int:
        found = run(build(searcher, aim), plan_of(OPEN_SPACE), [], 40, aim)[20:]
        lrs: list[Any] = [values["optimizer.lr"] for values in found]
        return sum(lr > 1e-2 for lr in lrs)

    assert infeasible("tpe") <= 1 < 3 <= infeasible("random")


SIZES_SPACE = """
datasets: [streets]
models: [{architecture: unet, name: large}, {architecture: unet, name: small}]
trials: 40
epochs: 4
image_size: {choice: [[64, 96], [128, 192], [256, 384]]}
"""


def test_tpe_learns_which_image_sizes_memory_does_not_hold() -> None:
    """The large model fits at the smallest size only; half of the trials are for learning it."""

    def too_large(name: str) -> int:
        component: Any = SEARCHERS.get(name)
        plan, chosen = plan_of(SIZES_SPACE), 0
        for seed in (1, 2):
            search = component.build(component.Options(seed=seed), SINGLE)
            for index, combination in enumerate(plan.order):
                values = search.propose(combination, index)
                trial = TrialState(combination.config(f"{index + 1:03d}", values), dict(values), index)
                search.recall(combination, trial.id, values)
                if combination.model.name == "large" and values["image_size"] != [64, 96]:
                    trial.status, trial.facts = "infeasible", {"micro_batch": 0.0}
                    chosen += index >= 40
                else:
                    ended(trial, SINGLE)
                search.observe(trial)
        return chosen

    assert too_large("tpe") < 0.6 * too_large("random")


def test_tpe_does_not_take_it_from_a_model_that_memory_does_not_hold_that_values_are_bad() -> None:
    models = "[{architecture: unet, name: large}, {architecture: unet, name: small}]"
    plan = plan_of(OPEN_SPACE.replace("[{architecture: unet, encoder: resnet18}]", models))
    search, distances = build("tpe"), []
    for index, combination in enumerate(plan.order[:60]):
        values = search.propose(combination, index)
        trial = TrialState(combination.config(f"{index + 1:03d}", values), dict(values), index)
        search.recall(combination, trial.id, values)
        if combination.model.name == "large":
            trial.status, trial.facts = "infeasible", {"micro_batch": 0.0}
        else:
            lr: Any = ended(trial, SINGLE).values["optimizer.lr"]
            distances.append(abs(math.log10(lr / 1e-3)))
        search.observe(trial)
    assert statistics.fmean(distances[15:]) < 0.8  # uniform draws from four decades are 1 away


def hypervolume(found: list[Values], worst: tuple[float, float] = (-4.0, 2.0)) -> float:
    """Area between the Pareto front of (val_miou, gmacs) and a point that is worse in both."""
    plan = plan_of(OPEN_SPACE)
    trials = [ended(TrialState(plan.combinations[0].config("1", v), dict(v)), SINGLE) for v in found]
    points = [(t.best or 0.0, m) for t in trials if (m := t.measured("gmacs")) is not None]
    area, cheapest = 0.0, worst[1]
    for value, cost in sorted(points, reverse=True):
        if value > worst[0] and cost < cheapest:
            area += (value - worst[0]) * (cheapest - cost)
            cheapest = cost
    return area


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_two_objectives_reach_a_larger_hypervolume_than_random_search(name: str) -> None:
    aim = Aim(more_objectives=(Objective(metric="gmacs"),))
    component: Any = SEARCHERS.get(name)
    uniform: Any = SEARCHERS.get("random")
    wins = 0
    for seed in range(3):
        sought = run(component.build(component.Options(seed=seed), aim), plan_of(OPEN_SPACE), [], 40)
        drawn = run(uniform.build(uniform.Options(seed=seed), aim), plan_of(OPEN_SPACE), [], 40)
        wins += hypervolume(sought) > hypervolume(drawn)
    assert wins == 3


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


TWO_MODELS = """
datasets: [{datasets}]
models: [{{architecture: unet, encoder: resnet18}}, {{architecture: {other}}}]
optimizers: [{optimizers}]
trials: 20
epochs: 2
image_size: [64, 64]
"""


@pytest.mark.parametrize(
    ("datasets", "other", "optimizers", "aim", "shared"),
    [
        ("streets", "fpn, encoder: resnet18", "adamw", SINGLE, True),
        ("streets", "segformer", "adamw", SINGLE, False),  # searches other learning rates
        ("streets", "fpn, encoder: resnet18", "adamw, {type: adamw, name: other}", SINGLE, False),
        ("streets, {type: streets, name: night}", "fpn, encoder: resnet18", "adamw", SINGLE, False),
        ("streets", "fpn, encoder: resnet18", "adamw", TRADED, False),
    ],
)
def test_models_of_one_dataset_with_the_same_domains_learn_from_each_other(
    datasets: str, other: str, optimizers: str, aim: Aim, shared: bool
) -> None:
    plan = plan_of(TWO_MODELS.format(datasets=datasets, other=other, optimizers=optimizers))
    first, last = plan.combinations[0], plan.combinations[-1]  # of all that is listed, the first and the last

    def proposed(known: int) -> Values:
        searcher = build("tpe", aim)
        for index in range(known):
            tell(searcher, first, index, searcher.propose(first, index), aim)
        tell(searcher, last, 20, searcher.propose(last, 20), aim)
        return searcher.propose(last, 21)

    assert (proposed(known=15) != proposed(known=0)) is shared


def test_a_model_searches_where_a_sibling_has_been_good() -> None:
    optimizer = "{type: adamw, lr: {loguniform: [1e-6, 1e-2]}, weight_decay: 0.1}"
    plan = plan_of(TWO_MODELS.format(datasets="streets", other="fpn, encoder: resnet18", optimizers=optimizer))
    sibling, model = plan.combinations

    def distance(known: int) -> float:
        """Of the model's first 9 trials from lr 1e-3, in powers of ten; 1.25 is expected of uniform draws."""
        searcher = build("tpe")
        for index in range(known):
            tell(searcher, sibling, index, searcher.propose(sibling, index), SINGLE)
        lrs: list[Any] = []
        for index in range(30, 39):
            values = searcher.propose(model, index)
            tell(searcher, model, index, values, SINGLE)
            lrs.append(values["optimizer.lr"])
        return statistics.mean(abs(math.log10(lr / 1e-3)) for lr in lrs)

    assert distance(known=30) < 0.7 < 1.0 < distance(known=0)
