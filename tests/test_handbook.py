"""`segsweep models`, `losses` and so on explain every component from its own file, and `profile` measures one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Annotated, Any, Literal

import pytest
from click.testing import CliRunner, Result
from pydantic import Field

from segsweep.orchestrator import handbook
from segsweep.orchestrator.checking import recipes
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.trainables import catalog
from segsweep.trainables.components import ComponentOptions

CATALOGS = {
    "models": catalog.MODELS,
    "losses": catalog.LOSSES,
    "optimizers": catalog.OPTIMIZERS,
    "schedules": catalog.LR_SCHEDULES,
    "datasets": catalog.DATASETS,
    "transforms": catalog.AUGMENTATIONS,
}


class Options(ComponentOptions):
    width: Annotated[int, Field(ge=1)] = 8  # of a layer,
    # in channels
    kind: Literal["a", "b"] | None = None
    rates: tuple[Annotated[float, Field(gt=0, lt=1)], Annotated[float, Field(gt=0, lt=1)]]  # both of them


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def test_options_are_told_with_limits_defaults_and_the_comments_beside_them() -> None:
    found = {option["name"]: option for option in handbook._options(Options, {})}
    assert found["width"]["allowed"] == "whole number >= 1"
    assert found["width"]["about"] == "of a layer, in channels"
    assert found["width"]["default"] == 8
    assert found["kind"]["allowed"] == "a | b | null"
    assert found["rates"]["required"]
    assert found["rates"]["allowed"] == "list of 2 x number > 0 and < 1"
    assert found["rates"]["about"] == "both of them"


@pytest.mark.parametrize("verb", CATALOGS)
def test_every_component_is_listed_and_explained(verb: str) -> None:
    listed = json.loads(run(verb, "--json").stdout)
    assert [each["name"] for each in listed] == CATALOGS[verb].names()
    for each in listed:
        assert each["summary"], f"{verb} {each['name']} has no docstring"
        page = handbook.as_page(each, 100)
        assert page[0] == each["name"]
        assert all(any(option["name"] in line for line in page) for option in each["options"])


def test_options_that_are_searched_say_where() -> None:
    page = run("optimizers", "adamw").stdout
    assert "lr  number > 0; searched where it is left out" in page
    assert 'a transformer\'s: {"loguniform": [1e-05, 0.001], "first": 6e-05}' in page


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(InputError, match="Did you mean 'focal'"):
        run("losses", "focall")


def test_listing_imports_no_torch() -> None:
    listing = "from segsweep.orchestrator.cli import cli; cli(['models'], standalone_mode=False)"
    code = f"{listing}; import sys; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "False"


def test_counts_are_those_of_the_facts() -> None:
    """24.4 M parameters and 31.9 GMAC: measured with SMP's own Unet, ResNet-34, 19 classes, 512x512."""
    found = json.loads(run("models", "unet", "--size", "512x512", "--json").stdout)
    assert found["counts"]["params_m"] == pytest.approx(24.4, rel=0.01)
    assert found["counts"]["gmacs"] == pytest.approx(31.9, rel=0.01)


def test_profile_measures_speed_and_memory() -> None:
    arguments = ["profile", "unet", "--size", "32x64", "--set", "encoder=tu-mobilenetv3_small_050", "--json"]
    found: dict[str, Any] = json.loads(run(*arguments).stdout)
    assert found["size"] == [32, 64]
    assert found["latency_ms"] > 0
    assert found["train_images_per_second"] < found["eval_images_per_second"]
    assert found["train_memory_gib"] >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unet", "--size", "64x64", "--set", "encoder=resnet43"], "no encoder 'resnet43'"),
        (["unet", "--size", "64x64", "--set", "encodr=resnet34"], "unknown key. Did you mean 'encoder'"),
        (["unett", "--size", "64x64"], "Did you mean 'unet'"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError) as error:
        run("profile", *arguments)
    assert message in str(error.value)


def test_a_size_that_is_none_is_refused() -> None:
    found = run("profile", "unet", "--size", "512")
    assert found.exit_code == 2
    assert "512x1024" in found.output


def test_recipes_are_listed_and_shown() -> None:
    listed = run("recipes").output.splitlines()
    assert [line.split()[0] for line in listed] == recipes.names()
    shown = run("recipes", "segformer").output
    assert "optimizers:" in shown
    assert "Xie et al. 2021" in shown
    assert json.loads(run("recipes", "segformer", "--json").output)["says"]["losses"] == ["cross_entropy"]
    with pytest.raises(InputError, match=r"no recipe 'segformr'. Did you mean 'segformer'"):
        run("recipes", "segformr")


def test_encoders_are_found_by_a_part_of_their_name_or_a_pattern() -> None:
    assert [line.split()[0] for line in run("encoders", "mit_").output.splitlines()] == [f"mit_b{i}" for i in range(6)]
    found = json.loads(run("encoders", "tu-convnext_t*", "--json").output)
    assert {"name": "tu-convnext_tiny", "family": "cnn", "weights": ["imagenet"]} in found
    assert all(each["name"].startswith("tu-convnext_t") for each in found)
    with pytest.raises(InputError, match=r"PATTERN: no encoder 'resnet43'. Did you mean 'resnet34'"):
        run("encoders", "resnet43")
