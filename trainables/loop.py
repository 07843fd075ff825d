"""One epoch of training, and scoring a split at the size of its original labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from segsweep.trainables.arithmetic import FLOAT32, Arithmetic
from segsweep.trainables.batches import Batch, eval_batches
from segsweep.trainables.boundaries import BoundaryCounts, boundary_scores
from segsweep.trainables.components import VOID
from segsweep.trainables.config import Evaluation
from segsweep.trainables.confusions import SparseMatrix, sparse
from segsweep.trainables.divergence import DivergedError, first_broken
from segsweep.trainables.epochs import grouped
from segsweep.trainables.inference import predict, predicted_classes
from segsweep.trainables.learner import Learner
from segsweep.trainables.metrics import ConfusionMatrix
from segsweep.trainables.normalization import IMAGENET, Normalization

if TYPE_CHECKING:
    from segsweep.trainables.cache import CachedSplit


class TrainedEpoch(NamedTuple):
    loss: float  # mean over labelled pixels
    images: int
    lr: float  # of the last update


class ScoredSplit(NamedTuple):
    loss: float  # mean over labelled pixels, at the size the network is fed
    confusion: Tensor  # (C, C) int64 on the CPU, at original label size; rows are truth
    images: tuple[SparseMatrix, ...]  # the same of each image; they sum up to `confusion`
    boundaries: Mapping[str, float]  # boundary_iou and boundary_f1 if they are asked for, else nothing


def train_epoch(learner: Learner, batches: Iterable[Batch], *, epoch: int) -> TrainedEpoch:
    """Update the model once per batch, or group of them. Raises DivergedError at the first loss that is not finite."""
    learner.begin(epoch)
    total, pixels, images, lr = 0.0, 0, 0, math.nan
    for step, group in enumerate(grouped(batches, learner.accumulation), start=1):
        lr = learner.lr
        labelled = [int((batch.labels != VOID).sum()) for batch in group]
        for number, (batch, count) in enumerate(zip(group, labelled, strict=True)):
            cost: Tensor = learner.loss(learner.predict(batch.images), batch.labels)
            if number == 0:  # not before: memory of gradients that is given back between updates costs a CPU 5 %
                learner.optimizer.zero_grad(set_to_none=True)
            value = float(cost.detach())
            if not math.isfinite(value):
                raise DivergedError(value, epoch, step, lr, broken=_first_broken(learner, batch.images))
            # a mean over labelled pixels becomes the mean over those of the group: what one large batch would give
            share = count / sum(labelled) if len(group) > 1 and any(labelled) else 1.0
            learner.backward(cost * share)
            total, pixels, images = total + value * count, pixels + count, images + len(batch.indices)
        learner.update()
    return TrainedEpoch(total / max(pixels, 1), images, lr)


def _first_broken(learner: Learner, images: Tensor) -> str:
    with learner.arithmetic():  # what overflows in fp16 need not elsewhere
        return first_broken(learner.model, images)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    loss: nn.Module,
    split: CachedSplit,
    evaluation: Evaluation,
    *,
    batch_size: int,
    device: torch.device,
    normalization: Normalization = IMAGENET,
    arithmetic: Arithmetic = FLOAT32,
) -> ScoredSplit:
    """Score every image of a split: logits resized bilinearly to the original label, argmax, one confusion matrix.

    Labels are never resized for the score: at a quarter of the size a perfect predictor would lose 0.16 mIoU on thin
    objects, and nobody would see it.
    """
    model.eval()
    num_classes = len(split.class_counts)
    confusion = ConfusionMatrix(num_classes).to(device)
    boundaries = BoundaryCounts(num_classes, evaluation.boundary_distance) if evaluation.boundary else None
    total, pixels, images = 0.0, 0, []
    for batch in eval_batches(split, batch_size, device, normalization):
        with arithmetic():
            logits = predict(model, batch.images, evaluation)
        labelled = int((batch.labels != VOID).sum())
        total, pixels = total + float(loss(logits, batch.labels)) * labelled, pixels + labelled
        # one image at a time: sizes may differ, memory is bounded, and upsampling a batch is no faster (11 classes,
        # 180x240 to 360x480, one core: 3.2 ms an image alone, 6.6 in a batch of 8 that no longer fits the caches)
        for image_logits, index in zip(logits, batch.indices, strict=True):
            label = torch.from_numpy(np.array(split.original_label(index))).to(device)  # a copy: the map is read-only
            classes = predicted_classes(image_logits, (label.shape[0], label.shape[1]))
            images.append(sparse(confusion(classes, label).numpy(force=True)))  # adds to the sum as well
            if boundaries is not None:
                boundaries.update(classes, label)
    scored = boundary_scores(boundaries.compute()) if boundaries is not None else {}
    return ScoredSplit(total / max(pixels, 1), confusion.compute().cpu(), tuple(images), scored)
