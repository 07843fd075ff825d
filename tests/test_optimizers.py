"""Every optimizer of the catalogue, and the split of parameters into those that decay and those that do not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from segsweep.trainables.catalog import OPTIMIZERS
from segsweep.trainables.optimizers import adamw as adamw_module
from segsweep.trainables.optimizers import sgd as sgd_module

FAMILIES = ("cnn", "transformer")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.batch_norm = nn.BatchNorm2d(4)
        self.frozen = nn.Conv2d(4, 4, 1).requires_grad_(False)
        self.layer_norm = nn.LayerNorm(4)
        self.linear = nn.Linear(4, 2)
        self.tied = nn.Linear(4, 2)
        self.tied.weight = self.linear.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.frozen(self.batch_norm(self.conv(x))).mean((2, 3))
        logits: torch.Tensor = self.linear(self.layer_norm(features)) + self.tied(features)
        return logits


def optimizer_of(name: str, model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    component: Any = OPTIMIZERS.get(name)
    return component.build(component.Options(**{"lr": 0.01, "weight_decay": 0.1} | options), model)


def decay_by_parameter(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, float]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_only_kernels_and_matrices_decay(name: str) -> None:
    model = Net()
    assert decay_by_parameter(optimizer_of(name, model), model) == {
        "conv.weight": 0.1,
        "conv.bias": 0.0,
        "batch_norm.weight": 0.0,
        "batch_norm.bias": 0.0,
        "layer_norm.weight": 0.0,
        "layer_norm.bias": 0.0,
        "linear.weight": 0.1,
        "linear.bias": 0.0,
        "tied.bias": 0.0,
    }


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_everything_decays_on_request(name: str) -> None:
    model = Net()
    decays = decay_by_parameter(optimizer_of(name, model, no_decay_on_norms=False), model)
    assert len(decays) == 9
    assert set(decays.values()) == {0.1}


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_one_update_changes_what_is_trainable_and_lowers_the_loss(name: str) -> None:
    torch.manual_seed(0)
    model, x = Net(), torch.randn(8, 3, 8, 8)
    optimizer = optimizer_of(name, model, weight_decay=0.0)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    first = model(x).square().mean()
    first.backward()
    optimizer.step()
    assert model(x).square().mean() < first
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    # a BatchNorm takes the bias of the convolution before it out again, so that gradient is 0 up to rounding
    assert changed - {"conv.bias"} == set(before) - {"conv.bias", "frozen.weight", "frozen.bias"}


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_model_without_a_trainable_parameter_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no trainable parameter"):
        optimizer_of(name, nn.Conv2d(1, 1, 1).requires_grad_(False))


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_learning_rate_and_weight_decay_have_no_default(name: str) -> None:
    with pytest.raises(ValidationError) as refused:
        OPTIMIZERS.get(name).Options()
    assert {e["loc"][0] for e in refused.value.errors() if e["type"] == "missing"} == {"lr", "weight_decay"}


@pytest.mark.parametrize(
    ("option", "value"), [("lr", 0.0), ("lr", math.inf), ("weight_decay", -1e-4), ("learning_rate", 0.1)]
)
@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_impossible_options_are_refused(name: str, option: str, value: float) -> None:
    with pytest.raises(ValidationError):
        OPTIMIZERS.get(name).Options(**{"lr": 0.1, "weight_decay": 0.1, option: value})


def bounds(domain: Mapping[str, Any]) -> tuple[str, float, float, float]:
    """Kind, low, high and first value of a domain in YAML notation."""
    (kind,) = set(domain) - {"first"}
    low, high = domain[kind]
    return kind, low, high, domain["first"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_default_domains_hold_their_first_value_and_valid_options(name: str, family: str) -> None:
    component: Any = OPTIMIZERS.get(name)
    domains = component.DOMAINS[family]
    assert set(domains) == {"lr", "weight_decay"}
    for kind, low, high, first in map(bounds, domains.values()):
        assert kind in {"uniform", "loguniform"}
        assert low > 0 if kind == "loguniform" else low >= 0
        assert low < high
        assert low <= first <= high
    for end in (1, 2, 3):
        component.Options(**{option: bounds(domain)[end] for option, domain in domains.items()})


def test_first_values_are_the_published_recipes() -> None:
    sgd, adamw = sgd_module.DOMAINS["cnn"], adamw_module.DOMAINS["transformer"]
    assert (sgd["lr"]["first"], sgd["weight_decay"]["first"]) == (0.01, 5e-4)
    assert (adamw["lr"]["first"], adamw["weight_decay"]["first"]) == (6e-5, 0.01)


def test_options_reach_the_optimizer() -> None:
    sgd = optimizer_of("sgd", Net(), momentum=0.99, nesterov=True).param_groups
    adamw = optimizer_of("adamw", Net(), betas=(0.8, 0.95), eps=1e-6).param_groups
    assert [(g["lr"], g["momentum"], g["nesterov"]) for g in sgd] == [(0.01, 0.99, True)] * 2
    assert [(g["lr"], g["betas"], g["eps"]) for g in adamw] == [(0.01, (0.8, 0.95), 1e-6)] * 2


def test_nesterov_without_momentum_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValidationError, match="nesterov needs a momentum above 0"):
        sgd_module.Options(lr=0.1, weight_decay=0.0, momentum=0.0, nesterov=True)
