"""One epoch of training, and scoring a split at the size of its original labels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from segsweep.trainables.batches import Batch, eval_batches
from segsweep.trainables.components import VOID
from segsweep.trainables.metrics import ConfusionMatrix

if TYPE_CHECKING:
    from segsweep.trainables.cache import CachedSplit

UPSAMPLED_BYTES = 256 * 2**20  # of logits at original size, at once: bounds memory for 150 classes on large photos


class DivergedError(RuntimeError):
    """The loss is no longer a number. Going on would only spend time."""

    def __init__(self, loss: float, epoch: int, step: int, lr: float, split: str = "train") -> None:
        super().__init__(f"{split} loss is {loss} in epoch {epoch}, step {step}, at lr {lr:g}; a lower lr may cure it")
        self.epoch, self.step, self.lr = epoch, step, lr


class TrainedEpoch(NamedTuple):
    loss: float  # mean over labelled pixels
    images: int
    lr: float  # of the last update, first parameter group


class Evaluation(NamedTuple):
    loss: float  # mean over labelled pixels, at the size the network is fed
    confusion: Tensor  # (C, C) int64 on the CPU, at original label size; rows are truth


def train_epoch(
    model: nn.Module,
    loss: nn.Module,
    optimizer: Optimizer,
    lr_schedule: LRScheduler,
    batches: Iterable[Batch],
    *,
    epoch: int,
) -> TrainedEpoch:
    """Update the model once per batch. Raises DivergedError at the first loss that is not finite."""
    model.train()
    total, pixels, images, lr = 0.0, 0, 0, math.nan
    for step, batch in enumerate(batches, start=1):
        lr = float(optimizer.param_groups[0]["lr"])
        cost: Tensor = loss(model(batch.images), batch.labels)
        value = float(cost.detach())
        if not math.isfinite(value):
            raise DivergedError(value, epoch, step, lr)
        optimizer.zero_grad(set_to_none=True)
        cost.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        lr_schedule.step()
        labelled = int((batch.labels != VOID).sum())
        total, pixels, images = total + value * labelled, pixels + labelled, images + len(batch.indices)
    return TrainedEpoch(total / max(pixels, 1), images, lr)


@torch.inference_mode()
def evaluate(
    model: nn.Module, loss: nn.Module, split: CachedSplit, num_classes: int, batch_size: int, device: torch.device
) -> Evaluation:
    """Score every image of a split: logits resized bilinearly to the original label, argmax, one confusion matrix.

    Labels are never resized for the score: at a quarter of the size a perfect predictor would lose 0.16 mIoU on thin
    objects, and nobody would see it.
    """
    model.eval()
    metric = ConfusionMatrix(num_classes).to(device)
    total, pixels = 0.0, 0
    for batch in eval_batches(split, batch_size, device):
        logits = model(batch.images)
        labelled = int((batch.labels != VOID).sum())
        total, pixels = total + float(loss(logits, batch.labels)) * labelled, pixels + labelled
        # one image at a time: sizes may differ, memory is bounded, and upsampling a batch is no faster (11 classes,
        # 180x240 to 360x480, one core: 3.2 ms an image alone, 6.6 in a batch of 8 that no longer fits the caches)
        for image_logits, index in zip(logits, batch.indices, strict=True):
            label = torch.from_numpy(np.array(split.original_label(index))).to(device)  # a copy: the map is read-only
            metric.update(predicted_classes(image_logits, (label.shape[0], label.shape[1])), label)
    return Evaluation(total / max(pixels, 1), metric.compute().cpu())


def predicted_classes(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) int64: the argmax of logits (C, h, w) upsampled bilinearly to `size`; equal logits go to the lower class.

    Classes are upsampled a few at a time where all of them at once would take more than UPSAMPLED_BYTES.
    """
    at_once = max(1, UPSAMPLED_BYTES // (4 * size[0] * size[1]))
    best, winner = _best_of(logits[:at_once], size)
    for first in range(at_once, len(logits), at_once):
        value, candidate = _best_of(logits[first : first + at_once], size)
        better = value > best
        best, winner = torch.where(better, value, best), torch.where(better, candidate + first, winner)
    return winner


def _best_of(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    upsampled = F.interpolate(logits[None].float(), size=size, mode="bilinear", align_corners=False)[0]
    value, winner = upsampled.max(dim=0)  # argmax alone takes five times as long on a CPU
    return value, winner
