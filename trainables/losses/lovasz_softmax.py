"""Lovasz-softmax loss (Berman et al. 2018, arXiv:1705.08790): 1 - IoU made convex, the mean over classes.

The mean over the classes that the batch (or each image) shows, as in the authors' experiments. It sorts all errors of
every class, so it is among the dearer losses. Own code, after the authors' (MIT): theirs, as it is in
segmentation_models_pytorch, takes differences of rounded numbers and fails for images without a label.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from segsweep.trainables.components import ComponentOptions, LossContext, Problem, Task
from segsweep.trainables.losses._activation import class_count_problems

if TYPE_CHECKING:
    from torch import Tensor, nn


class Options(ComponentOptions):
    per_image: bool = False  # the loss of each image, then their mean


def check(options: Options, task: Task) -> Iterable[Problem]:
    return class_count_problems(task)


def build(options: Options, context: LossContext) -> nn.Module:
    import torch
    from torch import nn

    class LovaszSoftmax(nn.Module):
        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            p = logits.softmax(dim=1).movedim(1, -1)  # (N, H, W, C)
            images = valid.flatten(1).any(dim=1).nonzero()  # those that show anything
            parts = list(images) if options.per_image else [slice(None)]
            return torch.stack([lovasz(p[part][valid[part]], labels[part][valid[part]]) for part in parts]).mean()

    return LovaszSoftmax()


def lovasz(p: Tensor, labels: Tensor) -> Tensor:
    """Scalar; p: (P, C) probabilities, labels: (P,). The paper's algorithm 1 for every class among the labels."""
    import torch

    ranks = torch.arange(1, len(labels) + 1, device=p.device)
    losses = []
    for class_ in torch.unique(labels):
        errors, order = ((labels == class_).to(p.dtype) - p[:, class_]).abs().sort(descending=True)
        truth = labels[order] == class_
        missed = truth.cumsum(0)  # with the pixels up to this rank wrong, and those after it right
        hits, union = missed[-1] - missed, missed[-1] + ranks - missed
        # by how much one more wrong pixel raises 1 - IoU; as a difference of both it would be lost in rounding
        steps = torch.where(truth, 1 / union, hits / (union * (union - 1)))
        losses.append(errors @ steps.to(p.dtype))
    return torch.stack(losses).mean()
