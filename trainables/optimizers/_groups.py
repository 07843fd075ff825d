"""Which parameters decay: the one place that splits a model for every optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float, no_decay_on_norms: bool) -> list[dict[str, object]]:
    """The trainable parameters as optimizer groups, each parameter once, in the model's order.

    With `no_decay_on_norms`, norms, biases and other vectors (everything with fewer than 2 dimensions) get weight
    decay 0: pulling a scale towards 0 regularises nothing (as SegFormer, Swin and timm train).
    Raises ValueError if nothing is trainable.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise ValueError("the model has no trainable parameter; unfreeze at least the head")
    if not no_decay_on_norms:
        return [{"params": trainable, "weight_decay": weight_decay}]
    groups: list[dict[str, object]] = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
