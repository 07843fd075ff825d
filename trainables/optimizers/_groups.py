"""What all optimizers share: their common options, and the split of a model into groups of one lr and weight decay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import ComponentOptions
from segsweep.trainables.parts import Part, part_of, stages_of

if TYPE_CHECKING:
    from torch import nn

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerOptions(ComponentOptions):
    """`lr` and `weight_decay` are searched where the YAML gives none."""

    lr: Positive
    weight_decay: NotNegative
    # pulling a scale towards 0 regularises nothing (so SegFormer, Swin and timm train)
    no_decay_on_norms: bool = True  # weight decay 0 for norms, biases and whatever else has fewer than 2 dimensions
    lr_multipliers: dict[Part, Positive] = {}  # by part of the network; SegFormer's recipe is {decoder: 10, head: 10}
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0  # of lr, once for each stage from the encoder's end on
    # (Bao et al. 2022, BEiT)


Marks = Mapping[str, bool]
"""Further keys of a parameter's group, for optimizers that treat groups differently."""


def parameter_groups(
    options: OptimizerOptions, model: nn.Module, marks: Callable[[str, nn.Parameter], Marks] = lambda name, p: {}
) -> list[dict[str, object]]:
    """Every parameter of the model once, in groups whose lr is `lr_factor` times `options.lr`.

    What is frozen has groups of its own: it has no gradient, so no optimizer touches it until it is thawed.
    Raises ValueError if nothing is trainable, or if there is no stage to tell apart.
    """
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("the model has no trainable parameter; unfreeze at least the head")
    factors = _lr_factors(options, model)
    groups: dict[tuple[object, ...], dict[str, object]] = {}
    members: dict[tuple[object, ...], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        decays = parameter.ndim >= 2 or not options.no_decay_on_norms
        marked = marks(name, parameter)
        key = (not parameter.requires_grad, not decays, factors[name], *sorted(marked.items()))
        members.setdefault(key, []).append(parameter)
        groups[key] = {
            "params": members[key],
            "lr": options.lr * factors[name],
            "lr_factor": factors[name],
            "weight_decay": options.weight_decay if decays else 0.0,
            **marked,
        }
    return [groups[key] for key in sorted(groups, key=lambda key: key[:2])]


def _lr_factors(options: OptimizerOptions, model: nn.Module) -> dict[str, float]:
    """By parameter."""
    factors = {name: options.lr_multipliers.get(part_of(name), 1.0) for name, _ in model.named_parameters()}
    if options.layer_decay != 1:
        stages = stages_of(model)
        last = max(stages.values())
        for name, stage in stages.items():
            factors[name] *= options.layer_decay ** (last + 1 - stage)
    return factors
