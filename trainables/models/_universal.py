"""Networks that predict a set of classes and masks, as semantic segmentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from segsweep.trainables.components import Outputs
from segsweep.trainables.models._set_loss import SetLoss, SetPrediction

LEAST = 1e-6  # of a score; a class that no query claims would be log 0


def semantic_logits(prediction: SetPrediction) -> Tensor:
    """(N, C, h, w): log of the sum over queries of class probability times mask probability, at least log 1e-6.

    The sums need not add up to 1 over the classes; the softmax of their logarithm divides by what they add up to, so
    argmax and cross entropy are those of the scores. Source: Cheng et al. 2021, section 3.4, semantic inference.
    """
    classes = prediction.classes.float().softmax(dim=2)[..., :-1]
    return torch.einsum("nqc,nqhw->nchw", classes, prediction.masks.float().sigmoid()).clamp_min(LEAST).log()


class Universal(nn.Module):
    """Images to semantic logits; while it trains, with the set loss of every decoder layer."""

    def __init__(
        self,
        network: nn.Module,
        predict: Callable[[nn.Module, Tensor], Sequence[SetPrediction]],
        loss: SetLoss,
        name: str = "network",
    ) -> None:
        """predict: a network and images to what its decoder layers say, the last one last; name: see parts.py."""
        super().__init__()
        self.add_module(name, network)
        self._name = name
        self._predict = predict
        self._loss = loss

    def forward(self, images: Tensor) -> Tensor | Outputs:
        layers = self._predict(self.get_submodule(self._name), images)
        logits = semantic_logits(layers[-1])
        return Outputs(logits, own_loss=lambda labels: self._loss(layers, labels)) if self.training else logits
