"""Every optimizer of the catalogue, and the split of parameters into groups of one lr and one weight decay."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from segsweep.trainables.catalog import MODELS, OPTIMIZERS
from segsweep.trainables.components import HasModes, Task
from segsweep.trainables.optimizers import adamw as adamw_module
from segsweep.trainables.optimizers import sgd as sgd_module
from segsweep.trainables.optimizers import timm as timm_module
from segsweep.trainables.optimizers._groups import OptimizerOptions

FAMILIES = ("cnn", "transformer")
NEEDED = {"timm": {"optimizer": "lamb"}}  # options that neither have a default nor are searched


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
    given = {"lr": 0.01, "weight_decay": 0.1} | NEEDED.get(name, {}) | options
    return component.build(component.Options(**given), model)


def updates(optimizer: torch.optim.Optimizer, model: nn.Module, count: int, seed: int = 0) -> None:
    """As the loop does them."""
    if isinstance(optimizer, HasModes):
        optimizer.train()
    for number in range(count):
        x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(seed + number))
        optimizer.zero_grad(set_to_none=True)
        model(x).square().mean().backward()
        optimizer.step()
    if isinstance(optimizer, HasModes):
        optimizer.eval()


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
        "frozen.weight": 0.1,
        "frozen.bias": 0.0,
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
    assert len(decays) == 11
    assert set(decays.values()) == {0.1}


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_one_update_changes_what_is_trainable_and_lowers_the_loss(name: str) -> None:
    torch.manual_seed(0)
    model, x = Net(), torch.randn(8, 3, 8, 8)
    optimizer = optimizer_of(name, model, lr=1e-3, weight_decay=0.0)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    first = model(x).square().mean()
    updates(optimizer, model, 1)
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
        OPTIMIZERS.get(name).Options(**NEEDED.get(name, {}))
    assert {e["loc"][0] for e in refused.value.errors() if e["type"] == "missing"} == {"lr", "weight_decay"}


@pytest.mark.parametrize(
    ("option", "value"), [("lr", 0.0), ("lr", math.inf), ("weight_decay", -1e-4), ("learning_rate", 0.1)]
)
@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_impossible_options_are_refused(name: str, option: str, value: float) -> None:
    with pytest.raises(ValidationError):
        OPTIMIZERS.get(name).Options(**{"lr": 0.1, "weight_decay": 0.1, option: value} | NEEDED.get(name, {}))


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
        component.Options(**{option: bounds(domain)[end] for option, domain in domains.items()}, **NEEDED.get(name, {}))


def test_first_values_are_the_published_recipes() -> None:
    sgd, adamw = sgd_module.DOMAINS["cnn"], adamw_module.DOMAINS["transformer"]
    assert (sgd["lr"]["first"], sgd["weight_decay"]["first"]) == (0.01, 5e-4)
    assert (adamw["lr"]["first"], adamw["weight_decay"]["first"]) == (6e-5, 0.01)


OPTIONS: dict[str, dict[str, Any]] = {
    "adagrad": {"lr_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-6},
    "adam": {"betas": (0.8, 0.95), "eps": 1e-6, "amsgrad": True},
    "adamw": {"betas": (0.8, 0.95), "eps": 1e-6},
    "lion": {"betas": (0.8, 0.95)},
    "muon": {"momentum": 0.9, "nesterov": False, "ns_steps": 3, "betas": (0.8, 0.9)},
    "nadam": {"betas": (0.8, 0.95), "eps": 1e-6, "momentum_decay": 0.1, "decoupled_weight_decay": False},
    "radam": {"betas": (0.8, 0.95), "eps": 1e-6, "decoupled_weight_decay": False},
    "rmsprop": {"alpha": 0.9, "momentum": 0.5, "centered": True, "eps": 1e-6},
    "schedule_free": {"betas": (0.8, 0.95), "eps": 1e-6},
    "sgd": {"momentum": 0.99, "nesterov": True},
}


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_options_reach_the_optimizer(name: str) -> None:
    options = OPTIONS[name] if name != "timm" else {"optimizer": "adamp", "arguments": {"delta": 0.5}}
    expected = OPTIONS.get(name, {"delta": 0.5})
    assert {*OPTIMIZERS.get(name).Options.model_fields} - {*OptimizerOptions.model_fields} == {*options}  # all of them
    for group in optimizer_of(name, Net(), **options).param_groups:
        assert {key: group[key] for key in expected} == expected
        assert group["lr"] == 0.01


def test_nesterov_without_momentum_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValidationError, match="nesterov needs a momentum above 0"):
        sgd_module.Options(lr=0.1, weight_decay=0.0, momentum=0.0, nesterov=True)


# -- frozen and thawed weights, and resuming -----------------------------------------------------------------------


def state(optimizer: torch.optim.Optimizer, model: nn.Module) -> Any:
    """After a trip through a file."""
    file = io.BytesIO()
    torch.save((model.state_dict(), optimizer.state_dict()), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


EVERY = [*((name, {}) for name in OPTIMIZERS.names()), *(("timm", {"optimizer": name}) for name in timm_module.NAMES)]


@pytest.mark.parametrize(("name", "options"), EVERY, ids=lambda value: str(value or ""))
def test_frozen_weights_stay_until_they_are_thawed_and_a_resumed_optimizer_goes_on_exactly(
    name: str, options: dict[str, Any]
) -> None:
    def made(seed: int) -> tuple[Net, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        model = Net()
        return model, optimizer_of(name, model, lr=1e-3, **options)

    straight, optimizer = made(0)
    before = straight.frozen.weight.detach().clone()
    updates(optimizer, straight, 2)
    assert torch.equal(straight.frozen.weight, before)  # although weight decay is 0.1
    saved = state(optimizer, straight)

    resumed, again = made(1)
    resumed.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    for model, its in ((straight, optimizer), (resumed, again)):
        model.frozen.requires_grad_(True)
        updates(its, model, 2, seed=2)
    assert not torch.equal(straight.frozen.weight, before)
    theirs = resumed.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in straight.state_dict().items())


# -- schedule_free ---------------------------------------------------------------------------------------------------


def schedule_free_by_the_paper(start: float, gradients: list[float], lr: float, decay: float) -> float:
    """Algorithm 1 of Defazio et al. 2024 with a constant lr, in Python's floats: x after the last gradient at y."""
    x, z, v = start, start, 0.0
    for t, g in enumerate(gradients, start=1):
        y = 0.1 * z + 0.9 * x
        v = 0.999 * v + 0.001 * g * g
        z -= lr * (g / (math.sqrt(v / (1 - 0.999**t)) + 1e-8) + decay * y)
        x += (z - x) / t
    return x


def test_schedule_free_is_the_papers_algorithm_also_for_weights_that_are_thawed_late() -> None:
    gradients = [0.5, -0.1, 0.3, 0.2, 0.4]

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.early = nn.Parameter(torch.full((1, 1), 2.0, dtype=torch.float64))
            self.late = nn.Parameter(torch.full((1, 1), 3.0, dtype=torch.float64), requires_grad=False)

    model = Two()
    optimizer = optimizer_of("schedule_free", model)
    assert isinstance(optimizer, HasModes)
    optimizer.train()
    for number, gradient in enumerate(gradients):
        model.early.grad = torch.full((1, 1), gradient, dtype=torch.float64)
        model.late.grad = model.early.grad.clone() if number >= 3 else None
        optimizer.step()
    optimizer.eval()
    assert model.early.item() == pytest.approx(schedule_free_by_the_paper(2.0, gradients, 0.01, 0.1), rel=1e-12)
    assert model.late.item() == pytest.approx(schedule_free_by_the_paper(3.0, gradients[3:], 0.01, 0.1), rel=1e-12)


# -- muon and timm ----------------------------------------------------------------------------------------------------


def test_muon_moves_hidden_weights_alone() -> None:
    class Segmenter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16))
            self.decoder = nn.Conv2d(16, 8, 1)
            self.segmentation_head = nn.Conv2d(8, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.segmentation_head(self.decoder(self.encoder(x)))
            return logits

    model = Segmenter()
    optimizer = optimizer_of("muon", model)
    updates(optimizer, model, 1)
    names = {id(p): name for name, p in model.named_parameters()}
    muon = {names[id(p)] for p, kept in optimizer.state.items() if "momentum_buffer" in kept}
    adamw = {names[id(p)] for p, kept in optimizer.state.items() if "exp_avg" in kept}
    assert muon == {"encoder.1.weight", "decoder.weight"}
    assert adamw == set(names.values()) - muon


def test_an_update_of_muon_is_orthogonal_and_of_adamws_size() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), nn.Linear(64, 16, bias=False))
    weight = model.get_parameter("1.weight")
    before = weight.detach().clone()
    optimizer = optimizer_of("muon", model, weight_decay=0.0)
    weight.grad = torch.randn(16, 64)
    optimizer.step()
    step = (weight.detach() - before) / 0.01
    assert torch.linalg.svdvals(step) == pytest.approx(torch.full((16,), 0.2 * math.sqrt(64)), rel=0.15)


def test_timms_optimizers_are_listed_but_for_those_that_cannot_be_used_here() -> None:
    from timm.optim import list_optimizers

    left_out = {name for name in list_optimizers() if name.startswith(("bnb", "fused", "kron"))} | {"adahessian"}
    assert {*timm_module.NAMES} == {*list_optimizers()} - left_out
    with pytest.raises(ValidationError, match=r"no optimizer 'lambs' for us\. Did you mean 'lamb'\?"):
        timm_module.Options(lr=0.1, weight_decay=0.0, optimizer="lambs")


def test_an_argument_that_timms_optimizer_does_not_take_is_named() -> None:
    with pytest.raises(ValueError, match=r"arguments of timm's lamb: .*'momentun'.*"):
        optimizer_of("timm", Net(), arguments={"momentun": 0.9})


# -- learning rates by part and stage ----------------------------------------------------------------------------------


def network(name: str, **options: Any) -> nn.Module:
    component: Any = MODELS.get(name)
    return component.build(component.Options(**options), Task(3, (64, 64), 2))


def lr_by_parameter(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, float]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)].removeprefix("network."): g["lr"] for g in optimizer.param_groups for p in g["params"]}


def test_parts_have_an_lr_of_their_own() -> None:
    model = network("unet", encoder="resnet18")
    optimizer = optimizer_of("adamw", model, lr_multipliers={"encoder": 0.1, "head": 10})
    lrs = lr_by_parameter(optimizer, model)
    assert lrs["encoder.layer1.0.conv1.weight"] == lrs["encoder.bn1.bias"] == 0.001
    assert lrs["decoder.blocks.0.conv1.0.weight"] == 0.01
    assert lrs["segmentation_head.0.weight"] == lrs["segmentation_head.0.bias"] == 0.1
    decays = decay_by_parameter(optimizer, model)
    assert {decays[name] for name, p in model.named_parameters() if p.ndim >= 2} == {0.1}
    assert {decays[name] for name, p in model.named_parameters() if p.ndim < 2} == {0.0}


def test_layer_decay_lowers_the_lr_of_a_stage_once_for_every_stage_from_the_encoders_end_on() -> None:
    model = network("segformer")
    lrs = lr_by_parameter(optimizer_of("adamw", model, layer_decay=0.5, lr_multipliers={"head": 2}), model)
    for stage, lr in enumerate([0.01 / 16, 0.01 / 8, 0.01 / 4, 0.01 / 2]):
        prefix = f"network.segformer.stages.{stage}."
        assert {value for name, value in lrs.items() if name.startswith(prefix)} == {lr}
    assert lrs["network.decode_head.linear_fuse.weight"] == 0.01
    assert lrs["network.decode_head.classifier.weight"] == 0.02


def test_a_stage_frozen_already_keeps_its_place() -> None:
    free, frozen = network("unet", encoder="resnet18"), network("unet", encoder="resnet18")
    for name, parameter in frozen.named_parameters():
        parameter.requires_grad_("layer1" not in name)
    lrs = [lr_by_parameter(optimizer_of("sgd", model, layer_decay=0.5), model) for model in (free, frozen)]
    assert lrs[0] == lrs[1]
    assert lrs[0]["encoder.conv1.weight"] == 0.01 * 0.5**5
