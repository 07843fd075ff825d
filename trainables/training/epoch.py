"""What a trial does in an epoch: it trains, and it scores the validation split."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

import torch
from torch import Tensor

from segsweep.trainables.cache.cached_split import CachedSplit
from segsweep.trainables.config import Objective, TrialConfig
from segsweep.trainables.scoring.confusions import SparseMatrix
from segsweep.trainables.scoring.metrics import scores
from segsweep.trainables.training.batches import Batch, prefetch_threads, train_batches
from segsweep.trainables.training.divergence import DivergedError, first_broken
from segsweep.trainables.training.epochs import draws, updates_per_epoch
from segsweep.trainables.training.experiment import Experiment
from segsweep.trainables.training.isolation import seeded
from segsweep.trainables.training.loop import ScoredSplit, evaluate, train_epoch
from segsweep.trainables.training.memory import peak_gib, reset_peak
from segsweep.trainables.training.micro_batches import free, halving, normalizes_batches
from segsweep.trainables.training.team import ALONE, Team

Metrics = dict[str, float]


class ObjectiveError(RuntimeError):
    """An epoch gave no usable value of the objective, so the trial cannot be compared with others."""


class Scored(NamedTuple):
    """A split, scored."""

    metrics: Metrics
    images: Sequence[SparseMatrix]  # the confusion matrix of every image


class Place(NamedTuple):
    """Where a process trains."""

    device: torch.device
    cpus: int


def images_of(config: TrialConfig, device: torch.device) -> str:
    """Which images memory holds or not, as `halving` says it."""
    height, width = config.image_size
    return f"of {height}x{width} at once (batch_size {config.batch_size}, on {device})"


def micro_batch_facts(it: Experiment, config: TrialConfig) -> dict[str, float | str]:
    """How many images are trained on at once and, where these are fewer than asked for, for whom that matters."""
    if it.learner.micro_batch is None:
        return {"micro_batch": float(config.batch_size)}
    changed = ["BatchNorm"] * normalizes_batches(it.learner.model) + [config.loss.name] * (not it.learner.loss.adds_up)
    return {"micro_batch": float(it.learner.micro_batch), "smaller_batches_for": ", ".join(changed)}


def train_and_score(it: Experiment, config: TrialConfig, epoch: int, place: Place) -> Scored:
    """One epoch (1, 2 ...): its metrics, and the confusion matrix of every validation image.

    Every process of a team calls it at once, and all get the same, but for what the clock says.
    Raises DivergedError, ObjectiveError, and DoesNotFitError if memory does not hold what is scored at once.
    """
    reset_peak(place.device)
    with seeded(config.seed, epoch, place.device, it.learner.team.rank):
        trained = _trained(it, config, epoch, place)
        scored, images = _scored(it, config, epoch, place)
    metrics = trained | scored
    metrics["peak_memory_gib"] = max(it.learner.team.gathered(peak_gib(place.device)))
    check_objective(metrics, config.objective, epoch)
    it.learner.observe(config.objective.goodness(metrics))
    return Scored(metrics, images)


def _trained(it: Experiment, config: TrialConfig, epoch: int, place: Place) -> Metrics:
    def batches() -> Generator[Batch]:
        drawn, threads = draws(config, len(it.train), epoch), prefetch_threads(place.device, place.cpus)
        normalization, team = it.pretrained.normalization, it.learner.team
        return train_batches(it.train, it.augment, drawn, place.device, threads, normalization, team)

    began = time.perf_counter()
    with closing(batches()) as each:
        trained = train_epoch(it.learner, each, epoch=epoch)
    took_s = time.perf_counter() - began
    it.learner.settle(batches)
    return {
        "train_loss": trained.loss,
        "lr": trained.lr,
        "images_per_second": trained.images / took_s,
        "iterations": float(updates_per_epoch(config, len(it.train)) * epoch),
    }


def score_test(it: Experiment, config: TrialConfig, place: Place, best: Mapping[str, Tensor]) -> Scored:
    """The test split by the weights `best`, those of the best epoch; afterwards the learner has its own again.

    Process by process of a team, on its own: it is done once. Raises DoesNotFitError.
    """
    assert it.test is not None
    model = it.learner.scored
    own = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(dict(best))
    try:
        found = _evaluated(it, config, place, it.test.split, ALONE)
    finally:
        model.load_state_dict(own)
    return Scored(_named(it, found, "test_"), found.images)


def _scored(it: Experiment, config: TrialConfig, epoch: int, place: Place) -> Scored:
    scored = _evaluated(it, config, place, it.val, it.learner.team)
    if not math.isfinite(scored.loss):
        steps, broken = updates_per_epoch(config, len(it.train)), first_broken(it.learner.scored)
        raise DivergedError(scored.loss, epoch, steps, it.learner.lr, broken=broken, split="val")
    return Scored(_named(it, scored, "val_"), scored.images)


def _named(it: Experiment, scored: ScoredSplit, prefix: str) -> Metrics:
    boundaries = {f"{prefix}{name}": value for name, value in scored.boundaries.items()}
    named = scores(scored.confusion, it.classes, prefix, scored=it.scored)
    return {f"{prefix}loss": scored.loss, **named, **boundaries}


def _evaluated(it: Experiment, config: TrialConfig, place: Place, split: CachedSplit, team: Team) -> ScoredSplit:
    """Memory decides how many images are scored at once, which changes no score."""

    def score(at_once: int) -> ScoredSplit:
        if at_once < first:
            it.learner.optimizer.zero_grad(set_to_none=True)
            free()
        return evaluate(
            it.learner.scored,
            it.learner.loss,
            split,
            config.evaluation,
            batch_size=at_once,
            device=place.device,
            normalization=it.pretrained.normalization,
            arithmetic=it.learner.arithmetic,
            team=team,
        )

    first = it.learner.scoring_batch or min(config.batch_size, len(split))
    # several processes would have to agree on fewer
    scored, at_once = halving(score, first, images_of(config, place.device), lambda: 1 if team.size == 1 else first)
    if at_once < first:
        it.learner.scoring_batch = at_once
    return scored


def check_objective(metrics: Metrics, objective: Objective, epoch: int) -> None:
    """Raises ObjectiveError."""
    if objective.metric not in metrics:
        raise ObjectiveError(f"epoch {epoch}: no metric '{objective.metric}'; there are {', '.join(sorted(metrics))}")
    if math.isnan(metrics[objective.metric]):
        raise ObjectiveError(f"epoch {epoch}: the objective {objective.metric} is not a number")
