"""Muon: momentum made orthogonal by Newton-Schulz iteration (Jordan et al. 2024), for hidden weights; timm's version.

As the authors advise, AdamW updates the rest: norms, biases, the first layer and the head, and kernels too small or too
thin to have directions. A convolution counts as a matrix of outputs by inputs times kernel. Updates are scaled to the
size of AdamW's (Liu et al. 2025, section 2.2), so that lr and weight decay are AdamW's as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import Family
from segsweep.trainables.optimizers import adamw
from segsweep.trainables.optimizers._groups import Beta, Marks, OptimizerOptions, parameter_groups
from segsweep.trainables.parts import part_of

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

DOMAINS: Mapping[Family, Mapping[str, Mapping[str, object]]] = adamw.DOMAINS


class Options(OptimizerOptions):
    momentum: Beta = 0.95
    nesterov: bool = True
    ns_steps: Annotated[int, Field(ge=1)] = 5  # Newton-Schulz iterations
    betas: tuple[Beta, Beta] = (0.9, 0.95)  # of AdamW


def build(options: Options, model: nn.Module) -> Optimizer:
    from timm.optim import Muon

    first = next((name for name, p in model.named_parameters() if p.ndim >= 2), "")

    def marks(name: str, parameter: nn.Parameter) -> Marks:
        return {"use_fallback": True} if name == first or part_of(name) == "head" else {}

    optimizer: Optimizer = Muon(
        parameter_groups(options, model, marks),
        lr=options.lr,
        momentum=options.momentum,
        nesterov=options.nesterov,
        ns_steps=options.ns_steps,
        betas=options.betas,
    )
    return optimizer
