"""One epoch of training, and scoring a split at the size of its original labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from segsweep.trainables.components import VOID
from segsweep.trainables.config import Evaluation
from segsweep.trainables.data.normalization import IMAGENET, Normalization
from segsweep.trainables.scoring.boundaries import BoundaryCounts, boundary_scores
from segsweep.trainables.scoring.confusions import SparseMatrix, sparse
from segsweep.trainables.scoring.inference import predict, predicted_classes
from segsweep.trainables.scoring.metrics import ConfusionMatrix
from segsweep.trainables.training.arithmetic import FLOAT32, Arithmetic
from segsweep.trainables.training.batches import Batch, eval_batches
from segsweep.trainables.training.divergence import DivergedError, first_broken
from segsweep.trainables.training.epochs import grouped
from segsweep.trainables.training.learner import Learner
from segsweep.trainables.training.micro_batches import cut
from segsweep.trainables.training.team import ALONE, Team

if TYPE_CHECKING:
    from segsweep.trainables.cache.cached_split import CachedSplit


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
    team = learner.team
    total, pixels, images, lr = 0.0, 0, 0, math.nan
    for step, drawn in enumerate(grouped(batches, learner.accumulation), start=1):
        lr = learner.lr
        group = [part for batch in drawn for part in cut(batch, learner.micro_batch, learner.least_batch)]
        labelled = [int((batch.labels != VOID).sum()) for batch in group]
        whole = team.total(sum(labelled))
        for number, (batch, count) in enumerate(zip(group, labelled, strict=True)):
            cost = learner.cost(batch)
            if number == 0:  # not before: memory of gradients that is given back between updates costs a CPU 5 %
                learner.optimizer.zero_grad(set_to_none=True)
            value = float(cost.detach())
            if not math.isfinite(everywhere := team.total(value)):
                raise DivergedError(everywhere, epoch, step, lr, broken=_first_broken(learner, batch.images, value))
            # a mean over labelled pixels becomes the mean over those of the group and of all processes, whose gradients
            # are averaged: what one large batch would give
            learner.backward(cost * (team.size * count / whole if whole else 1.0))
            total, pixels, images = total + value * count, pixels + count, images + len(batch.indices)
        learner.update()
    total, pixels, images = map(sum, zip(*team.gathered((total, pixels, images)), strict=True))
    return TrainedEpoch(total / max(pixels, 1), images, lr)


def _first_broken(learner: Learner, images: Tensor, value: float) -> str:
    """In the process whose loss `value` is broken, or the first of them."""
    with learner.arithmetic():  # what overflows in fp16 need not elsewhere
        broken = first_broken(learner.model, images)
    return min(learner.team.gathered((math.isfinite(value), learner.team.rank, broken)))[2]


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
    team: Team = ALONE,
) -> ScoredSplit:
    """Score every image of a split: logits resized bilinearly to the original label, argmax, one confusion matrix.

    Labels are never resized for the score: at a quarter of the size a perfect predictor would lose 0.16 mIoU on thin
    objects, and nobody would see it. Of a team every process scores some of the batches and knows the scores of all.
    """
    model.eval()
    num_classes = len(split.class_counts)
    confusion = ConfusionMatrix(num_classes).to(device)
    boundaries = BoundaryCounts(num_classes, evaluation.boundary_distance) if evaluation.boundary else None
    parts: list[tuple[float, int, list[SparseMatrix]]] = []  # of every batch: its loss, labelled pixels and images
    for batch in eval_batches(split, batch_size, device, normalization, team):
        with arithmetic():
            logits = predict(model, batch.images, evaluation)
        labelled = int((batch.labels != VOID).sum())
        images: list[SparseMatrix] = []
        parts.append((float(loss(logits, batch.labels)) * labelled, labelled, images))
        # one image at a time: sizes may differ, memory is bounded, and upsampling a batch is no faster (11 classes,
        # 180x240 to 360x480, one core: 3.2 ms an image alone, 6.6 in a batch of 8 that no longer fits the caches)
        for image_logits, index in zip(logits, batch.indices, strict=True):
            label = torch.from_numpy(np.array(split.original_label(index))).to(device)  # a copy: the map is read-only
            classes = predicted_classes(image_logits, (label.shape[0], label.shape[1]))
            images.append(sparse(confusion(classes, label).numpy(force=True)))  # adds to the sum as well
            if boundaries is not None:
                boundaries.update(classes, label)
    scored = boundary_scores(team.stacked(boundaries.counts).sum(0)) if boundaries is not None else {}
    costs, pixels, matrices = zip(*team.united(parts), strict=True)
    whole = team.stacked(confusion.confusion).sum(0).cpu()
    return ScoredSplit(sum(costs) / max(sum(pixels), 1), whole, tuple(chain(*matrices)), scored)
