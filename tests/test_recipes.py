"""A model's entry can name a recipe, and have lists of its own instead of the sweep's."""

from __future__ import annotations

from importlib.resources import files

import pytest
from scripted import plan_of

from segsweep.orchestrator.checking import recipes
from segsweep.orchestrator.checking.entries import read_recipe
from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.planning.plan import Combination
from segsweep.orchestrator.space.source import parse

HEAD = "datasets: [streets]\nepochs: 9\nimage_size: [64, 96]\nlosses: [dice]\noptimizers: [sgd]\n"


def combinations(models: str) -> tuple[Combination, ...]:
    return plan_of(f"{HEAD}models: {models}\n").combinations


def mistakes(models: str) -> list[str]:
    with pytest.raises(InputError) as error:
        combinations(models)
    return [str(mistake) for mistake in error.value.mistakes]


def test_models_without_lists_of_their_own_take_the_sweeps() -> None:
    (found,) = combinations("[unet]")
    assert (found.loss.name, found.optimizer.name, found.lr_schedule.name) == ("dice", "sgd", "poly")


def test_a_models_own_lists_stand_in_for_the_sweeps() -> None:
    found = combinations("[unet, {architecture: fpn, losses: [cross_entropy, focal]}]")
    assert [(each.model.type, each.loss.name, each.optimizer.name) for each in found] == [
        ("unet", "dice", "sgd"),
        ("fpn", "cross_entropy", "sgd"),
        ("fpn", "focal", "sgd"),
    ]


def test_a_recipe_stands_in_for_the_sweeps_lists_and_the_entry_for_the_recipes() -> None:
    (found,) = combinations("[{architecture: segformer, recipe: segformer, losses: [focal]}]")
    assert found.model.recipe == "segformer"
    assert found.loss.name == "focal"
    assert found.optimizer.name == "adamw"
    assert found.lr_schedule.options["power"] == 1.0
    first = found.config("001", {path: domain.first for path, domain in found.domains.items()})
    assert first.optimizer.options["lr"] == 6e-5


def test_a_model_may_have_settings_of_the_loop_of_its_own() -> None:
    own, usual = combinations("[{architecture: unet, accumulation: 4, clip_norm: 12, ema: 0.9}, fpn]\nclip_norm: 1.0")
    configs = [
        each.config("001", {path: domain.first for path, domain in each.domains.items()}) for each in (own, usual)
    ]
    found = [(each.accumulation, each.clip_norm, each.ema, each.batch_size) for each in configs]
    assert found == [(4, 12, 0.9, 8), (1, 1.0, None, 8)]


def test_settings_of_the_loop_can_be_searched() -> None:
    (found,) = combinations(
        "[unet]\nclip_norm: {choice: [null, 1.0]}\nema: {uniform: [0.9, 0.999]}\naccumulation: {int: [1, 4]}"
    )
    assert {"clip_norm", "ema", "accumulation"} <= found.domains.keys()
    values = {path: domain.first for path, domain in found.domains.items()}
    config = found.config("001", values | {"clip_norm": None, "ema": 0.95, "accumulation": 3})
    assert (config.clip_norm, config.ema, config.accumulation) == (None, 0.95, 3)


def test_a_model_may_have_a_batch_size_of_its_own() -> None:
    small, usual = combinations("[{architecture: unet, batch_size: 2}, fpn]")
    assert small.config("001", {path: domain.first for path, domain in small.domains.items()}).batch_size == 2
    assert usual.config("001", {path: domain.first for path, domain in usual.domains.items()}).batch_size == 8


def test_specs_survive_json() -> None:
    spec = check(parse(f"{HEAD}models: [{{architecture: unet, recipe: mmseg-cnn}}]\n", "x.yaml")).spec
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            "[{architecture: unet, recipe: mmseg}]",
            "space.yaml:6: models[0].recipe: no recipe 'mmseg'. Did you mean 'mmseg-cnn'?",
        ),
        (
            "[{architecture: unet, losses: [dise]}]",
            "space.yaml:6: models[0].losses[0].type: no loss 'dise'. Did you mean 'dice'?",
        ),
        (
            "[{architecture: unet, losses: []}]",
            "space.yaml:6: models[0].losses: must be a list with at least one entry",
        ),
        (
            "[{architecture: unet, optimizers: [{type: sgd, lr: -1}]}]",
            "space.yaml:6: models[0].optimizers[0].lr: must be above 0",
        ),
        ("[{architecture: unet, losses: [dice, dice]}]", "'dice' is already the name of models[0].losses[0]"),
        ("[{architecture: unet, batch_size: 0}]", "space.yaml:6: models[0].batch_size: must be at least 1"),
        (
            "[{architecture: unet, lr_schedules: [{type: poly, warmup_epochs: 9}]}]",
            "models[0].lr_schedules[0].warmup_epochs",
        ),
        (
            "[{architecture: unet, losses: [{type: cross_entropy, class_weights: [1, 2]}]}]",
            "models[0].losses[0].class_weights",
        ),
    ],
)
def test_what_is_wrong_inside_a_models_entry_is_told_with_its_place(models: str, message: str) -> None:
    assert any(message in mistake for mistake in mistakes(models)), mistakes(models)


@pytest.mark.parametrize("name", recipes.names())
def test_recipes_are_valid_and_say_where_they_come_from(name: str) -> None:
    assert "losses" in read_recipe(name)
    head = files(recipes).joinpath(f"{name}.yaml").read_text("utf-8").partition("\n")[0]
    assert head.startswith("# ")
    (found,) = combinations(f"[{{architecture: unet, recipe: {name}}}]")[:1]
    assert found.model.recipe == name
