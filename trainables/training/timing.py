"""How long a configuration trains and scores on this machine, and how large its checkpoints are: from a few steps."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import chain, count, islice, pairwise
from statistics import median
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from segsweep.trainables.storage import GIB

if TYPE_CHECKING:
    import torch

    from segsweep.trainables.config import TrialConfig
    from segsweep.trainables.training.batches import Batch
    from segsweep.trainables.training.experiment import Experiment

WARM_UP = 2  # steps that allocate memory and choose kernels
STEPS = 5


class Pace(NamedTuple):
    """What a trial takes: time of its worker, room for its checkpoints."""

    epoch_s: float
    setup_s: float  # once in every attempt
    last_gib: float = 0.0  # last.pt on disk; 0 if nobody knows
    best_gib: float = 0.0


def measure(config: TrialConfig, *, cpus: int, gpus: float) -> Pace:
    """Build the trial, train and score a few batches, and extrapolate the median of each to an epoch.

    Writing checkpoints is left out. Data that are not in the cache yet are decoded into it, which does not count.
    Raises what building and training raise.
    """
    from segsweep.trainables.training.epochs import updates_per_epoch
    from segsweep.trainables.training.experiment import build, pick_device
    from segsweep.trainables.training.isolation import cpu_threads, seeded

    device = pick_device(gpus)
    longer = config.model_copy(update={"epochs": config.epochs + WARM_UP + STEPS})  # its LR schedule lasts long enough
    with cpu_threads(cpus), seeded(config.seed, 0, device):
        build(longer, device)  # decodes, and imports what the model needs, as only a worker's first trial does
        began = time.perf_counter()
        experiment = build(longer, device)
        setup_s = time.perf_counter() - began
        train_s = _update_s(experiment, longer, device, cpus) * updates_per_epoch(config, len(experiment.train))
        val_s = _val_image_s(experiment, longer, device) * len(experiment.val)
        learner = experiment.learner
        return Pace(train_s + val_s, setup_s, _gib(learner.state_dict()), _gib(learner.scored.state_dict()))


def _gib(state: object) -> float:
    """Of a file with that in it."""
    import torch

    from segsweep.trainables.storage import Counter

    counter = Counter()
    torch.save(state, cast("IO[bytes]", counter))
    return counter.size / GIB


def _update_s(it: Experiment, config: TrialConfig, device: torch.device, cpus: int) -> float:
    from segsweep.trainables.training.batches import prefetch_threads, train_batches
    from segsweep.trainables.training.epochs import draws
    from segsweep.trainables.training.loop import train_epoch

    threads = prefetch_threads(device, cpus)

    def batches(epoch: int) -> Iterator[Batch]:
        return train_batches(it.train, it.augment, draws(config, len(it.train), epoch), device, threads)

    began: list[float] = []
    few = islice(chain.from_iterable(map(batches, count(1))), (WARM_UP + STEPS + 1) * config.accumulation)
    train_epoch(it.learner, _clocked(few, began), epoch=1)
    updates = began[config.accumulation - 1 :: config.accumulation]
    return median(later - earlier for earlier, later in pairwise(updates[WARM_UP:]))


def _clocked(batches: Iterable[Batch], began: list[float]) -> Iterator[Batch]:
    """Note when each batch but the first is asked for: if it begins an update, the one before is over then."""
    for batch in batches:
        yield batch
        began.append(time.perf_counter())


def _val_image_s(it: Experiment, config: TrialConfig, device: torch.device) -> float:
    """Of a few batches, each scored as a whole split is."""
    from segsweep.trainables.training.loop import evaluate

    images = min(config.batch_size, len(it.val))
    few = it.val.first(images)
    took: list[float] = []
    for _ in range(1 + STEPS):
        began = time.perf_counter()
        evaluate(
            it.learner.scored,
            it.learner.loss,
            few,
            config.evaluation,
            batch_size=config.batch_size,
            device=device,
            arithmetic=it.learner.arithmetic,
        )
        took.append(time.perf_counter() - began)
    return median(took[1:]) / images
