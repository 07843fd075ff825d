"""Parts and stages: how networks are taken apart. tests/test_models.py holds every architecture to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from segsweep.trainables.catalog import MODELS
from segsweep.trainables.components import Task
from segsweep.trainables.parts import part_of, stages_of


def network(name: str, **options: Any) -> nn.Module:
    component: Any = MODELS.get(name)
    return component.build(component.Options(**options), Task(3, (64, 64), 2))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("network.encoder.layer1.0.conv1.weight", "encoder"),
        ("network.encoder.model.head.weight", "encoder"),  # a head that timm left in its encoder
        ("network.decoder.blocks.0.conv1.0.weight", "decoder"),
        ("network.segmentation_head.0.bias", "head"),
        ("network.network.segformer.stages.0.blocks.0.layernorm_before.weight", "encoder"),
        ("network.network.decode_head.linear_fuse.weight", "decoder"),
        ("network.network.decode_head.classifier.weight", "head"),
        ("network.eomt.layers.0.norm1.weight", "encoder"),
        ("network.eomt.mask_head.fc1.weight", "decoder"),
        ("network.eomt.class_predictor.weight", "head"),
        ("network.decoder.encoder.layers.0.weight", "decoder"),  # such as the pixel decoder of Mask2Former
    ],
)
def test_names_decide_the_part(name: str, part: str) -> None:
    assert part_of(name) == part


RESNET = {"conv1": 1, "bn1": 1, "layer1": 2, "layer2": 3, "layer3": 4, "layer4": 5}


def test_the_stages_of_a_resnet_are_its_stem_and_its_layers() -> None:
    stages = stages_of(network("unet", encoder="resnet18"))
    assert {name.split(".")[2]: stage for name, stage in stages.items()} == RESNET


@pytest.mark.parametrize(("encoder", "count"), [("mit_b0", 4), ("tu-mobilenetv3_small_050", 5), ("efficientnet-b0", 5)])
def test_stages_are_those_between_feature_maps_whatever_the_library_calls_them(encoder: str, count: int) -> None:
    assert max(stages_of(network("unet", encoder=encoder)).values()) == count


def test_looking_for_stages_leaves_the_network_as_it_was() -> None:
    model = network("unet", encoder="resnet18").train()
    model.get_submodule("network.encoder.layer1").eval().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = {name: module.training for name, module in model.named_modules()}
    required = {name: p.requires_grad for name, p in model.named_parameters()}
    stages_of(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert required == {name: p.requires_grad for name, p in model.named_parameters()}
    assert all(p.grad is None for p in model.parameters())


def test_a_network_without_an_encoder_has_no_stages() -> None:
    with pytest.raises(ValueError, match="gives no feature maps"):
        stages_of(nn.Conv2d(3, 2, 1))
