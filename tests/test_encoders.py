"""The committed list of encoders against the installed libraries, and how a name is looked up."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from segsweep.trainables.models import _encoders as encoders

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """benchmarks/list_encoders.py, which wrote the list."""
    spec = importlib.util.spec_from_file_location("list_encoders", ROOT / "benchmarks/list_encoders.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["list_encoders"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_encoder_of_smp_is_listed_with_its_weights() -> None:
    from segmentation_models_pytorch.encoders import encoders as smp_encoders

    listed = {name: encoders.find(name) for name in encoders.names() if not name.startswith("tu-")}
    assert {name: found.weights for name, found in listed.items() if found} == {
        name: tuple(entry["pretrained_settings"]) for name, entry in smp_encoders.items()
    }


def test_every_listed_timm_encoder_is_a_model_of_timm() -> None:
    import timm

    listed = {name.removeprefix("tu-") for name in encoders.names() if name.startswith("tu-")}
    assert len(listed) > 500
    assert listed <= set(timm.list_models())


def test_marks_belong_to_listed_encoders_and_no_name_is_listed_twice() -> None:
    listed = json.loads((ROOT / "trainables/models/encoders.json").read_text())
    assert len(set(encoders.names())) == len(encoders.names())
    for mark in ("transformers", "flexible", "min_batch_2", "dilated"):
        assert set(listed[mark].split()) <= set(encoders.names())


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "mit_b0",
        "timm-skresnet18",  # BatchNorm after global pooling
        "tu-resnet10t",
        "tu-mobilenetv3_small_050",
        "tu-convnext_atto",
        "tu-pvt_v2_b0",
        "tu-swin_tiny_patch4_window7_224",  # its training size unless told otherwise
        "tu-vit_tiny_patch16_224",  # no pyramid
        "tu-gcvit_xxtiny",  # one size
    ],
)
@pytest.mark.filterwarnings("ignore:`timm-` encoders are deprecated:DeprecationWarning")
def test_list_says_what_building_the_encoder_says(name: str, generator: ModuleType) -> None:
    found, probe = encoders.find(name), generator.probe(name)
    if probe is None:
        assert found is None
    else:
        assert found
        assert (found.family == "transformer", found.min_batch, found.flexible, found.dilates) == (
            probe.attends,
            probe.min_batch,
            probe.flexible,
            probe.dilates,
        )


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "vit_base_patch16_siglip_224",  # no class token
        "vit_base_patch32_224",
        "vit_small_patch14_dinov2",  # its patches do not halve to 32 px
        "resnet18",
    ],
)
def test_list_of_vits_says_what_building_dpt_says(name: str, generator: ModuleType) -> None:
    found, tokens = encoders.find_vit(f"tu-{name}"), generator.vit_tokens(name)
    assert (found is None) == (tokens is None)
    assert found is None or found.tokens == bool(tokens)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("resnet50", "cnn"),
        ("mit_b5", "transformer"),
        ("tu-convnext_tiny", "cnn"),
        ("tu-efficientnet_b0", "cnn"),  # squeeze-and-excite is no attention between positions
        ("tu-swinv2_tiny_window8_256", "transformer"),
        ("tu-pvt_v2_b2", "transformer"),
        ("tu-resnet18.a1_in1k", "cnn"),
    ],
)
def test_family_follows_attention(name: str, family: str) -> None:
    found = encoders.find(name)
    assert found
    assert found.family == family


def test_tag_names_weights_of_the_same_encoder() -> None:
    assert encoders.find("tu-resnet18.a1_in1k") == encoders.find("tu-resnet18")
    assert encoders.find("resnet18.imagenet") is None  # tags are timm's


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet43", "Did you mean 'resnet34'?"),
        ("ResNet50", "Did you mean 'resnet50'?"),
        ("tu-convnext_tinny", "Did you mean 'tu-convnext_tiny'?"),
        ("convnext_tiny", "'tu-convnext_tiny'"),
        ("zzz", "such as resnet34"),
    ],
)
def test_unknown_names_come_with_the_nearest_spelling(name: str, hint: str) -> None:
    assert encoders.find(name) is None
    assert f"no encoder '{name}'" in encoders.unknown(name)
    assert hint in encoders.unknown(name)
