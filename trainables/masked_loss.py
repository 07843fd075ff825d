"""The one place where void is taken out of a loss, and the one way every loss is built.

Library losses disagree on all of it: some average over void pixels, some give NaN when nothing is labelled, some
overflow in half precision, most refuse uint8 labels. Here logits become float32 and labels int64, void is masked
once, and a batch without a labelled pixel costs 0; so a loss component is only its formula.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segsweep.trainables.components import VOID, ComponentOptions, LossComponent, LossContext, Outputs, adds_up


def build_loss(component: LossComponent, options: ComponentOptions, context: LossContext) -> MaskedLoss:
    """The loss that a trial trains with: the component's formula behind the mask."""
    return MaskedLoss(component.build(options, context), adds_up=adds_up(component, options))


class MaskedLoss(nn.Module):
    """Calls `loss(logits, labels, valid)` with what LossComponent.build promises; returns a float32 scalar.

    The gradient at void pixels is exactly zero whatever the loss does there, even where logits are not finite.
    """

    def __init__(self, loss: nn.Module, *, adds_up: bool = False) -> None:
        """adds_up: see components.adds_up."""
        super().__init__()
        self.loss = loss
        self.adds_up = adds_up

    def forward(self, outputs: Tensor | Outputs, labels: Tensor) -> Tensor:
        """Of all logits, each with its weight; or what the network says itself, where it has its own loss.

        logits: (N, C, H, W) of any floating type; labels: (N, H, W) of any integer type, 0..C-1 or VOID.
        Raises ValueError if the shapes do not belong together.
        """
        if isinstance(outputs, Tensor):
            return self._masked(outputs, labels)
        if outputs.own_loss is not None and (labels != VOID).any():
            return outputs.own_loss(labels.long()).float()
        total = self._masked(outputs.logits, labels)
        for weight, logits in outputs.auxiliary:
            total = total + weight * self._masked(logits, labels)
        return total

    def _masked(self, logits: Tensor, labels: Tensor) -> Tensor:
        if labels.shape != (logits.shape[0], *logits.shape[2:]):
            raise ValueError(
                f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} do not belong together: "
                "a loss takes (N, C, H, W) and (N, H, W)"
            )
        valid = labels != VOID
        # float32 before any exp or sum: a half-precision sum over one image overflows
        logits = logits.float().masked_fill(~valid[:, None], 0.0)
        if not valid.any():
            return logits.sum() * 0  # a number with a graph, so backward and data-parallel training go on
        loss: Tensor = self.loss(logits, labels.long().masked_fill(~valid, 0), valid)
        return loss


def masked_mean(values: Tensor, valid: Tensor, weights: Tensor | None = None) -> Tensor:
    """sum(w * v) / sum(w) over the valid pixels; 0 where these weigh nothing. All (N, H, W); weights default to 1."""
    weight = valid.to(values.dtype) if weights is None else weights * valid
    return (values * weight).sum() / weight.sum().clamp_min(torch.finfo(values.dtype).tiny)
