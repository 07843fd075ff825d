"""Keeps parts of a network as they are: no gradients, no statistics, no dropout; for all of training or at first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from segsweep.trainables.model_options import Freeze
from segsweep.trainables.parts import part_of, stages_of


@dataclass(frozen=True)
class Freezing:
    """What of a network is frozen, and in which epochs."""

    parameters: tuple[nn.Parameter, ...] = ()
    modules: tuple[nn.Module, ...] = ()  # those that hold nothing else
    epochs: int | None = None  # None: all

    def hold(self, epoch: int) -> None:
        """Freeze or thaw, as epoch (1, 2 ...) asks for; after every `model.train()`, which would wake the modules."""
        frozen = self.epochs is None or epoch <= self.epochs
        for parameter in self.parameters:
            parameter.requires_grad_(not frozen)
        for module in self.modules if frozen else ():
            module.eval()


def freezing(freeze: Freeze | None, model: nn.Module) -> Freezing:
    """Freezes what is frozen in the first epoch. Raises ValueError if the network has no such part or stages."""
    if freeze is None:
        return Freezing()
    frozen = _frozen(freeze, model)
    found = Freezing(tuple(frozen), tuple(_modules(freeze, model, {id(p) for p in frozen})), freeze.epochs)
    found.hold(1)
    return found


def _frozen(freeze: Freeze, model: nn.Module) -> list[nn.Parameter]:
    parts = {name: part_of(name) for name, _ in model.named_parameters()}
    for part in freeze.parts:
        if part not in parts.values():
            raise ValueError(f"freeze.parts: the network has no {part}; it has {', '.join(sorted({*parts.values()}))}")
    stages = stages_of(model) if freeze.stages is not None else {}
    count, first = max(stages.values(), default=0), freeze.stages or 0
    if first > count:
        raise ValueError(f"freeze.stages: must be at most {count}, the stages of this encoder, not {first}")
    return [
        p for name, p in model.named_parameters() if parts[name] in freeze.parts or stages.get(name, first + 1) <= first
    ]


def _modules(freeze: Freeze, model: nn.Module, frozen: set[int]) -> Iterator[nn.Module]:
    """Those whose parameters are all frozen; of those without any, such as dropout, the ones in a frozen part."""
    for name, module in model.named_modules():
        inside = [id(p) for p in module.parameters()]
        if frozen.issuperset(inside) if inside else part_of(name) in freeze.parts:
            yield module
