"""Frozen parts: nothing in them changes, nothing is computed for them, and they can be thawed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.space.source import parse
from segsweep.trainables.catalog import MODELS
from segsweep.trainables.components import Task
from segsweep.trainables.model_options import Freeze
from segsweep.trainables.optimizers import sgd
from segsweep.trainables.parts import part_of
from segsweep.trainables.training.freezing import Freezing, freezing

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def network(name: str = "unet", **options: Any) -> nn.Module:
    component: Any = MODELS.get(name)
    return component.build(component.Options(**options), Task(3, (64, 64), 2))


def frozen(model: nn.Module, **options: Any) -> Freezing:
    return freezing(Freeze(**options), model)


def train(model: nn.Module, held: Freezing, epoch: int, updates: int = 2) -> None:
    optimizer = sgd.build(sgd.Options(lr=0.1, weight_decay=0.1), model)
    model.train()
    held.hold(epoch)
    for _ in range(updates):
        optimizer.zero_grad(set_to_none=True)
        model(IMAGES).square().mean().backward()
        optimizer.step()


def changed(model: nn.Module, act: Callable[[], None]) -> set[str]:
    """Weights and statistics that `act` changes."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    act()
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def test_a_frozen_encoder_keeps_weights_and_statistics_and_gets_no_gradients() -> None:
    model = network(encoder="resnet18")
    held = frozen(model, parts=["encoder"])
    moved = changed(model, lambda: train(model, held, epoch=1))
    assert {part_of(name) for name in moved} == {"decoder", "head"}
    assert all(p.grad is None for name, p in model.named_parameters() if part_of(name) == "encoder")


def test_backward_never_enters_a_frozen_encoder() -> None:
    model = network(encoder="resnet18")
    found: list[torch.Tensor] = []
    model.get_submodule("network.encoder").register_forward_hook(lambda _m, _i, features: found.extend(features))
    frozen(model, parts=["encoder"]).hold(1)
    model(IMAGES)
    assert len(found) == 6
    assert not any(features.requires_grad for features in found)


@pytest.mark.parametrize("part", ["decoder", "head"])
def test_other_parts_can_be_frozen(part: str) -> None:
    model = network(encoder="resnet18")
    held = frozen(model, parts=[part])
    moved = changed(model, lambda: train(model, held, epoch=1))
    assert {part_of(name) for name in moved} == {"encoder", "decoder", "head"} - {part}


def test_the_first_stages_stay_and_the_others_train() -> None:
    model = network(encoder="resnet18")
    held = frozen(model, stages=2)
    moved = {".".join(name.split(".")[1:3]) for name in changed(model, lambda: train(model, held, epoch=1))}
    assert not moved & {"encoder.conv1", "encoder.bn1", "encoder.layer1"}
    assert {"encoder.layer2", "encoder.layer3", "encoder.layer4", "segmentation_head.0"} <= moved


def test_dropout_in_a_frozen_part_is_off_wherever_it_is() -> None:
    model = network("segformer")
    frozen(model.train(), parts=["encoder", "decoder"])
    drops = {name: module.training for name, module in model.named_modules() if "drop" in name.rpartition(".")[2]}
    assert drops
    assert not any(drops.values())
    free = network("segformer").train()
    frozen(free, parts=["head"])
    assert all(module.training for name, module in free.named_modules() if name in drops)


def test_stages_take_the_dropout_inside_of_them() -> None:
    model = network("segformer").train()
    frozen(model, stages=1)
    modes = {name: module.training for name, module in model.named_modules() if ".stages." in name}
    assert {training for name, training in modes.items() if ".stages.0." in name} == {False}
    assert {training for name, training in modes.items() if ".stages.1." in name} == {True}


def test_parts_are_thawed_after_their_epochs() -> None:
    model = network(encoder="resnet18")
    held = frozen(model, parts=["encoder"], epochs=2)
    for epoch in (1, 2):
        assert not {part_of(n) for n in changed(model, lambda epoch=epoch: train(model, held, epoch))} & {"encoder"}
    moved = changed(model, lambda: train(model, held, epoch=3))
    assert "network.encoder.bn1.running_mean" in moved
    assert "network.encoder.conv1.weight" in moved


def test_nothing_is_frozen_unless_it_is_asked_for() -> None:
    model = network(encoder="resnet18")
    held = freezing(None, model)
    assert len(changed(model, lambda: train(model, held, epoch=1))) == len(model.state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs `parts:"),
        ({"parts": ["encoder", "encoder"]}, "names a part twice"),
        ({"parts": ["encoder", "decoder", "head"]}, "nothing would be trained"),
        ({"parts": ["encoder"], "stages": 2}, "leave out one of the two"),
        ({"parts": ["backbone"]}, "encoder"),
        ({"stages": 0}, "greater than or equal to 1"),
    ],
)
def test_impossible_wishes_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Freeze(**options)


def test_a_network_says_what_it_has() -> None:
    with pytest.raises(ValueError, match=r"freeze\.stages: must be at most 5, the stages of this encoder, not 6"):
        frozen(network(encoder="resnet18"), stages=6)
    with pytest.raises(ValueError, match=r"freeze\.parts: the network has no encoder; it has decoder"):
        frozen(nn.Conv2d(3, 2, 1), parts=["encoder"])


SPACE = """datasets: [streets]
image_size: [64, 96]
epochs: 9
models:
  - {architecture: unet, encoder: resnet18}
  - {architecture: unet, encoder: resnet18, freeze: {parts: [encoder]}}
  - {architecture: unet, encoder: resnet18, freeze: {stages: 2, epochs: 5}}
  - {architecture: fpn, freeze: {parts: [encoder], epochs: {int: [1, 8]}}}
"""


def test_a_model_with_frozen_parts_is_a_row_of_its_own() -> None:
    assert [model.name for model in check(parse(SPACE, "x.yaml")).spec.models] == [
        "unet/resnet18",
        "unet/resnet18-frozen-encoder",
        "unet/resnet18-frozen-2-stages-for-5-epochs",
        "fpn/resnet34",  # how long is searched, so it makes no row
    ]


@pytest.mark.parametrize(("old", "new", "line"), [("epochs: 5", "epochs: 9", 7), ("[1, 8]", "[1, 9]", 8)])
def test_what_would_never_be_thawed_is_refused(old: str, new: str, line: int) -> None:
    with pytest.raises(InputError) as refused:
        check(parse(SPACE.replace(old, new), "x.yaml"))
    place = f"x.yaml:{line}: models[{line - 5}].freeze.epochs"
    why = "9 epochs are all of training (9), so nothing would be thawed; give fewer, or leave it out"
    assert str(refused.value) == f"{place}: {why}"


def test_more_stages_than_there_are_are_refused_before_anything_is_built() -> None:
    with pytest.raises(InputError) as refused:
        check(parse(SPACE.replace("stages: 2", "stages: 6"), "x.yaml"))
    assert str(refused.value) == "x.yaml:7: models[2].freeze: stages must be at most 5, those of its encoders, not 6"
