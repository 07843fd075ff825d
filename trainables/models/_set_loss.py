"""The loss of networks that predict a set of masks (Carion et al. 2020; Cheng et al. 2021 and 2022), without void.

Every query predicts a class, or none, and a mask. The classes of an image are matched one to one with queries at the
least cost; matched queries learn class and mask, the others learn "none". The libraries' own losses (MaskFormer,
Mask2Former, OneFormer, EoMT) know no void: a void pixel is outside every mask there, so predicting anything on it is
punished. Here matching and mask losses see labelled pixels only. An image without one contributes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from segsweep.trainables.components import VOID

OVERSAMPLING, UNCERTAIN = 3, 0.75  # of PointRend: candidates per point, and the share of points taken from the hardest


class SetPrediction(NamedTuple):
    """What a decoder layer says of N images."""

    classes: Tensor  # (N, Q, C + 1) logits; the last is "none"
    masks: Tensor  # (N, Q, h, w) logits, of any size


class SetLoss(NamedTuple):
    """The weights of the terms, in the loss and in the matching."""

    class_weight: float
    mask_weight: float
    dice_weight: float
    none_weight: float = 0.1  # of queries without a class, in the cross entropy
    mask_term: Literal["cross_entropy", "focal"] = "cross_entropy"
    points: int = 12544  # labelled pixels looked at in an image, drawn anew each time; all where there are fewer

    def __call__(self, layers: Sequence[SetPrediction], labels: Tensor) -> Tensor:
        """Sum over the layers, each matched for itself. labels: (N, H, W) int64, 0..C-1 or VOID."""
        shown = [(i, label[label != VOID].unique()) for i, label in enumerate(labels)]
        targets = [(i, classes) for i, classes in shown if len(classes)]
        if not targets:  # a number with a graph, so backward and data-parallel training go on
            return torch.stack(
                [0 * (layer.classes.float().sum() + layer.masks.float().sum()) for layer in layers]
            ).sum()
        return torch.stack([self._of_layer(layer, labels, targets) for layer in layers]).sum()

    def _of_layer(self, layer: SetPrediction, labels: Tensor, targets: list[tuple[int, Tensor]]) -> Tensor:
        logits = layer.classes.float()
        wanted = torch.full(logits.shape[:2], logits.shape[2] - 1, device=logits.device)
        mask_losses, masks = [], 0
        for i, classes in targets:
            queries, matched = self._match(logits[i], layer.masks[i].float(), labels[i], classes)
            wanted[i, queries] = classes[matched]
            mask_losses.append(self._of_masks(layer.masks[i, queries].float(), labels[i], classes[matched]))
            masks += len(queries)
        weights = torch.ones(logits.shape[2], device=logits.device)
        weights[-1] = self.none_weight
        images = [i for i, _ in targets]
        of_classes = F.cross_entropy(logits[images].flatten(0, 1), wanted[images].flatten(), weights)
        return self.class_weight * of_classes + torch.stack(mask_losses).sum() / masks

    @torch.no_grad()
    def _match(self, logits: Tensor, masks: Tensor, label: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Indices of queries and of the classes they are matched with. logits: (Q, C + 1), masks: (Q, h, w)."""
        from scipy.optimize import linear_sum_assignment

        pixels = _labelled(label, self.points)
        found = _at(masks, pixels, label.shape)  # (Q, P)
        truth = _truth(label, pixels, classes)  # (K, P)
        inside, outside = self._pixel_losses(found)
        of_masks = (inside @ truth.T + outside @ (1 - truth).T) / truth.shape[1]
        of_dice = _dice(found.sigmoid() @ truth.T, found.sigmoid().sum(1)[:, None] + truth.sum(1))
        cost = self.mask_weight * of_masks + self.dice_weight * of_dice
        cost = cost - self.class_weight * logits.softmax(1)[:, classes]
        queries, matched = linear_sum_assignment(cost.nan_to_num(1e9, 1e9, -1e9).cpu().numpy())
        return torch.as_tensor(queries, device=masks.device), torch.as_tensor(matched, device=masks.device)

    def _of_masks(self, masks: Tensor, label: Tensor, classes: Tensor) -> Tensor:
        """Sum over the K masks (K, h, w) of what they lose against their class."""
        pixels = self._points(masks, label)
        found, truth = _at(masks, pixels, label.shape), _truth(label, pixels, classes)
        inside, outside = self._pixel_losses(found)
        of_masks = torch.where(truth > 0, inside, outside).mean(1).sum()
        probability = found.sigmoid()
        of_dice = _dice((probability * truth).sum(1), probability.sum(1) + truth.sum(1)).sum()
        return self.mask_weight * of_masks + self.dice_weight * of_dice

    @torch.no_grad()
    def _points(self, masks: Tensor, label: Tensor) -> Tensor:
        """Pixels to compare masks at: (P,) for all of them, or (K, P), the least certain of each and some others."""
        if self.mask_term == "focal":  # it looks for the hard ones by itself
            return _labelled(label, self.points)
        candidates = _labelled(label, OVERSAMPLING * self.points)
        if len(candidates) <= self.points:
            return candidates
        uncertain = int(UNCERTAIN * self.points)
        hardest = _at(masks, candidates, label.shape).abs().topk(uncertain, largest=False).indices
        others = candidates[torch.randint(len(candidates), (self.points - uncertain,), device=label.device)]
        return torch.cat([candidates[hardest], others.expand(len(masks), -1)], dim=1)

    def _pixel_losses(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """What each pixel costs if it belongs to the mask, and if it does not."""
        inside, outside = F.softplus(-logits), F.softplus(logits)
        if self.mask_term == "focal":  # alpha 0.25, gamma 2, as in the MaskFormer paper
            probability = logits.sigmoid()
            inside, outside = 0.25 * (1 - probability) ** 2 * inside, 0.75 * probability**2 * outside
        return inside, outside


def _labelled(label: Tensor, most: int) -> Tensor:
    """Flat indices of the labelled pixels of (H, W): all in order, or `most` of them at random."""
    pixels = (label.flatten() != VOID).nonzero()[:, 0]
    return pixels if len(pixels) <= most else pixels[torch.randint(len(pixels), (most,), device=label.device)]


def _at(masks: Tensor, pixels: Tensor, size: torch.Size) -> Tensor:
    """(K, h, w) at the centres of the pixels (P,) or (K, P) of an image of `size`: (K, P), bilinear."""
    height, width = size
    x = 2 * (pixels % width + 0.5) / width - 1
    y = 2 * (pixels // width + 0.5) / height - 1
    grid = torch.stack([x, y], dim=-1).expand(len(masks), -1, 2)[:, None]
    return F.grid_sample(masks[:, None], grid, padding_mode="border", align_corners=False)[:, 0, 0]


def _truth(label: Tensor, pixels: Tensor, classes: Tensor) -> Tensor:
    """(K, P): 1 where the pixel is of the class."""
    return (label.flatten()[pixels].expand(len(classes), -1) == classes[:, None]).float()


def _dice(overlap: Tensor, total: Tensor) -> Tensor:
    return 1 - (2 * overlap + 1) / (total + 1)
