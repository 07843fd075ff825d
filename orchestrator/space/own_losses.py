"""Which models train with a loss of their own, and what a search space may say about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from segsweep.orchestrator.space.source import KeyPath
from segsweep.trainables.catalog import MODELS

if TYPE_CHECKING:
    from segsweep.orchestrator.space.spec import ComponentSpec

OWN = "own"  # the loss in trainables/losses that stands for it


def has_own_loss(model: ComponentSpec) -> bool:
    return bool(getattr(MODELS.get(model.type), "OWN_LOSS", False))


def own_loss_problems(
    models: Iterable[ComponentSpec], losses: Iterable[ComponentSpec]
) -> Iterator[tuple[KeyPath, str]]:
    """Where a search space pairs models with losses that they do not train with, and what to do about it.

    losses: the sweep's.
    """
    others = []
    for m, model in enumerate(models):
        path: KeyPath = ("models", m, "losses")
        listed = model.own.get("losses")
        if not has_own_loss(model):
            if listed is None:
                others.append(model.name)
            yield from _without(path, listed or (), f"{model.type} has none")
        elif listed and model.recipe is None and any(loss.type != OWN for loss in listed):
            yield path, f"{model.type} trains with its own loss; leave `losses` out here"
    if others:
        yield from _without(("losses",), losses, f"{', '.join(others)} has none")


def _without(path: KeyPath, losses: Iterable[ComponentSpec], why: str) -> Iterator[tuple[KeyPath, str]]:
    for i, loss in enumerate(losses):
        if loss.type == OWN:
            yield (*path, i), f"own is the loss that a model brings, and {why}; models that have one take it unasked"
