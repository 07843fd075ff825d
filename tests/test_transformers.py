"""Models of transformers: weights of whole networks and of encoders from a folder, and what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from segsweep.trainables.catalog import MODELS
from segsweep.trainables.components import Task, WeightsError
from segsweep.trainables.data.normalization import HALF, UNIT
from segsweep.trainables.parts import part_of
from segsweep.trainables.training.batches import normalize
from segsweep.trainables.training.network_costs import gmacs
from segsweep.trainables.weights.files import stated_normalization
from segsweep.trainables.weights.loading import build as load

SMALL_SET = {"encoder": "resnet18", "queries": 8, "decoder_layers": 1, "decoder_width": 64}
SMALL: dict[str, dict[str, Any]] = {
    "beit": {"encoder": "vit_tiny"},
    "data2vec": {"encoder": "vit_tiny"},
    "eomt": {"encoder": "dinov2_tiny", "queries": 8},
    "hf_dpt": {"encoder": "vit_tiny", "decoder_width": 32},
    "hf_mobilenetv2": {"encoder": "width_0.35"},
    "hf_upernet": {"encoder": "resnet18", "decoder_width": 32},
    "mask2former": {**SMALL_SET, "pixel_decoder_layers": 1},
    "maskformer": SMALL_SET,
    "mobilevit": {"encoder": "xx_small", "decoder_width": 32},
    "mobilevitv2": {"encoder": "width_0.5", "decoder_width": 32},
    "oneformer": {**SMALL_SET, "pixel_decoder_layers": 1},
}


def build(name: str, num_classes: int = 5, **options: Any) -> Any:
    """The network as transformers has it, inside what is ours."""
    component = MODELS.get(name)
    module: Any = component.build(component.Options(**options), Task(num_classes, (64, 64), 2))
    return module.network.eomt if name == "eomt" else module.network.network


@pytest.mark.parametrize("name", SMALL)
def test_whole_networks_come_from_a_folder_with_another_head(name: str, tmp_path: Path) -> None:
    ours = build(name, num_classes=7, **SMALL[name])
    theirs = type(ours)(ours.config)  # with what we leave out
    theirs.save_pretrained(tmp_path)
    saved = theirs.state_dict()
    same = build(name, num_classes=7, encoder_weights=str(tmp_path), **SMALL[name]).state_dict()
    assert all(torch.equal(value, saved[key]) for key, value in same.items())
    other = build(name, num_classes=5, encoder_weights=str(tmp_path), **SMALL[name]).state_dict()
    changed = {key for key, value in other.items() if not torch.equal(value, saved[key])}
    assert changed
    assert {part_of(key) for key in changed} == {"head"}


def test_mobilevit_sees_images_as_its_own_processor_prepares_them(tmp_path: Path) -> None:
    from transformers import MobileViTImageProcessor

    theirs = build("mobilevit", **SMALL["mobilevit"])
    theirs.save_pretrained(tmp_path)
    processor = MobileViTImageProcessor(do_resize=False, do_center_crop=False)
    processor.save_pretrained(tmp_path)
    component = MODELS.get("mobilevit")
    options = component.Options(encoder_weights=str(tmp_path), **SMALL["mobilevit"])
    ours, pretrained = load(component, options, Task(5, (64, 64), 2), ["a", "b", "c", "d", "e"])
    image = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    given = normalize(image.permute(2, 0, 1)[None], pretrained.normalization)
    with torch.inference_mode():
        expected = theirs.eval()(**processor(images=image.numpy(), return_tensors="pt")).logits
        expected = nn.functional.interpolate(expected, size=(64, 64), mode="bilinear", align_corners=False)
        assert torch.allclose(ours.eval()(given), expected, atol=1e-5)


def test_mobilevits_of_the_hub_get_images_from_0_to_1(tmp_path: Path) -> None:
    """Their configuration has neither a mean nor a word on normalising; other processors say what they do."""
    own = {"crop_size": 256, "do_center_crop": True, "do_flip_channel_order": True, "do_resize": True, "size": 288}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(own))
    assert stated_normalization(tmp_path) == UNIT
    assert MODELS.get("mobilevitv2").Options().normalization() == UNIT  # type: ignore[attr-defined]
    stated = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    assert stated_normalization(tmp_path) == HALF


@pytest.mark.parametrize("name", ["hf_upernet", "mask2former"])
def test_backbones_take_the_weights_of_a_classifier(name: str, tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(layer_type="basic", hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2])
    theirs: Any = ResNetForImageClassification(config)
    theirs.save_pretrained(tmp_path)
    ours = build(name, encoder_weights=str(tmp_path), **SMALL[name])
    backbone = ours.backbone if name == "hf_upernet" else ours.model.pixel_level_module.encoder
    found = backbone.state_dict()
    assert all(
        torch.equal(value, found[key.removeprefix("resnet.")]) for key, value in theirs.resnet.state_dict().items()
    )


def test_eomt_takes_the_weights_of_dinov3(tmp_path: Path) -> None:
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    shape = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}
    theirs: Any = DINOv3ViTModel(DINOv3ViTConfig(num_register_tokens=4, **shape))
    theirs.save_pretrained(tmp_path)
    ours = build("eomt", encoder="dinov3_tiny", encoder_weights=str(tmp_path))
    assert torch.equal(ours.layers[11].mlp.up_proj.weight, theirs.model.layer[11].mlp.up_proj.weight)
    assert torch.equal(ours.layernorm.weight, theirs.norm.weight)
    with pytest.raises(
        WeightsError, match=r"of another encoder: \d+ tensors do not fit, such as embeddings\.cls_token"
    ):
        build("eomt", encoder="dinov3_small", encoder_weights=str(tmp_path))


def test_position_embeddings_of_another_size_are_taken_as_they_are(tmp_path: Path) -> None:
    from transformers import BeitConfig, BeitForSemanticSegmentation

    shape = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}
    config = BeitConfig(
        image_size=64, use_relative_position_bias=True, out_indices=[4, 6, 8, 12], num_labels=5, **shape
    )
    theirs: Any = BeitForSemanticSegmentation(config)
    theirs.save_pretrained(tmp_path)
    ours = build("beit", encoder="vit_tiny", encoder_weights=str(tmp_path))
    assert all(
        torch.equal(value, ours.state_dict()[key]) for key, value in theirs.beit.state_dict(prefix="beit.").items()
    )


def test_weights_of_another_depth_width_or_kind_are_refused(tmp_path: Path) -> None:
    build("hf_upernet", **SMALL["hf_upernet"]).save_pretrained(tmp_path)
    weights = str(tmp_path)
    with pytest.raises(WeightsError, match=r"with depths \[2, 2, 2, 2\] instead of \[3, 4, 6, 3\]; make the two agree"):
        build("hf_upernet", encoder="resnet50", encoder_weights=weights)
    with pytest.raises(WeightsError, match="are of a upernet, not of a dpt such as Intel/dpt-large-ade"):
        build("hf_dpt", encoder_weights=weights)
    build("mobilevit", **SMALL["mobilevit"]).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"of another encoder: \d+ tensors do not fit, such as mobilevit\."):
        build("mobilevit", encoder="x_small", encoder_weights=weights)
    with pytest.raises(WeightsError, match=r"Give a folder with config\.json and model\.safetensors"):
        build("mobilevit", encoder_weights=str(tmp_path / "nothing"))


def test_norms_start_at_one() -> None:
    """transformers draws BatchNorm's scales around 0, and nothing is learned."""
    for name in ("mobilevit", "mobilevitv2", "hf_mobilenetv2", "maskformer"):
        norms = [module for module in build(name, **SMALL[name]).modules() if isinstance(module, nn.BatchNorm2d)]
        assert norms
        assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)


@pytest.mark.parametrize(
    ("encoder", "known"),
    [("mit_b0", 8.4), ("mit_b1", 15.9), ("mit_b2", 62.3), ("mit_b3", 79.0), ("mit_b4", 95.6), ("mit_b5", 111.5)],
)
def test_segformer_costs_what_is_known(encoder: str, known: float) -> None:
    component = MODELS.get("segformer")
    with torch.device("meta"):
        model = component.build(component.Options(encoder=encoder), Task(150, (512, 512), 2))
    assert gmacs(model, (512, 512), torch.device("meta")) == pytest.approx(known, rel=0.01)


# millions of parameters with 150 classes: mmsegmentation's and the papers' own figures, without auxiliary heads
@pytest.mark.parametrize(
    ("name", "options", "millions"),
    [
        ("hf_upernet", {"encoder": "convnext_tiny", "auxiliary_weight": 0}, 59.2),
        ("mask2former", {"encoder": "swin_tiny"}, 47.4),
        ("mask2former", {"encoder": "resnet50"}, 44.0),
    ],
)
def test_parameters_are_those_published(name: str, options: dict[str, Any], millions: float) -> None:
    with torch.device("meta"):
        model = build(name, num_classes=150, **options)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)
