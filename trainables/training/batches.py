"""Batches of normalised images from the cache. A pass over the images follows from its seed and number alone.

So a resumed trial needs no stored data order, and two trials of one seed see the same images in the same order.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from segsweep.trainables.components import VOID, Augmentation, BatchAugmentation, DataError, Pair
from segsweep.trainables.data.normalization import IMAGENET, Normalization
from segsweep.trainables.training.prefetch import in_order
from segsweep.trainables.training.team import ALONE, Team

if TYPE_CHECKING:
    from segsweep.trainables.cache.cached_split import CachedSplit


class Batch(NamedTuple):
    images: Tensor  # (N, 3, h, w) float32, normalised
    labels: Tensor  # (N, h, w) int64, 0..C-1 or VOID
    indices: tuple[int, ...]  # of the N images in their split


class Draw(NamedTuple):
    """An image of a split, and the seed of its augmentation."""

    image: int
    seed: int


def shuffled(images: int, batch_size: int, seed: int, number: int) -> list[list[Draw]]:
    """Pass `number` (1, 2 ...) over the images: every one once, in `batches_per_epoch` batches."""
    rng = np.random.default_rng((seed, number))
    order = rng.permutation(images)
    seeds = rng.integers(2**31, size=images)
    drawn = [Draw(int(i), int(seeds[i])) for i in order]
    return [drawn[n * batch_size : (n + 1) * batch_size] for n in range(batches_per_epoch(images, batch_size))]


def train_batches(
    split: CachedSplit,
    augment: Augmentation,
    draws: Iterable[Sequence[Draw]],
    device: torch.device,
    threads: int = 0,
    normalization: Normalization = IMAGENET,
    team: Team = ALONE,
) -> Generator[Batch]:
    """Augmented batches of what was drawn, or this process's share of each.

    threads: how many prepare batches ahead. The batches are the same for any number. A share without an image comes as
    one that is void all over, with no index, since few networks take a batch of none.
    """
    idle: SimpleQueue[Augmentation] = SimpleQueue()
    for number in range(max(1, threads)):
        idle.put(copy.deepcopy(augment) if number else augment)  # it draws from a state of its own while it works

    def augmented(drawn: Sequence[Draw]) -> Sequence[Pair]:
        own = idle.get()
        try:
            if isinstance(own, BatchAugmentation):  # of which any image may get into any other
                return team.share(own.mix([_augmented(split, own, draw) for draw in drawn], drawn[0].seed))
            return [_augmented(split, own, draw) for draw in team.share(drawn)]
        finally:
            idle.put(own)

    def shared(drawn: Sequence[Draw]) -> Sequence[Pair]:
        if pairs := augmented(drawn):
            return pairs
        image, label = split.pair(drawn[0].image)
        return [Pair(image, np.full_like(label, VOID))]

    yield from _batches(shared, draws, device, threads, normalization, team)


def _augmented(split: CachedSplit, augment: Augmentation, draw: Draw) -> Pair:
    try:
        return augment(split.pair(draw.image), draw.seed)
    except Exception as error:
        raise DataError(f"{split.ids[draw.image]}: cannot be augmented, with seed {draw.seed} ({error!r})") from error


def batches_per_epoch(images: int, batch_size: int) -> int:
    """How many batches show every image once.

    A last batch of one is dropped unless it is the only one or batches are meant to be of one: BatchNorm over a single
    image is noise, and several architectures refuse it.
    """
    full, rest = divmod(images, batch_size)
    return full + (rest >= 2 or (rest == 1 and full == 0))


def eval_batches(
    split: CachedSplit,
    batch_size: int,
    device: torch.device,
    normalization: Normalization = IMAGENET,
    team: Team = ALONE,
) -> Generator[Batch]:
    """Every image once, in order, as it is in the cache; or this process's share of the batches, which stay whole."""
    ordered = [Draw(image, seed=0) for image in range(len(split))]
    draws = [ordered[start : start + batch_size] for start in range(0, len(split), batch_size)]
    threads = prefetch_threads(device, 1)
    mine = team.share(draws)
    yield from _batches(lambda drawn: [split.pair(i) for i, _ in drawn], mine, device, threads, normalization)


def prefetch_threads(device: torch.device, cpus: int) -> int:
    """How many threads of a trial prepare batches: none on a CPU, where they would take turns with the training."""
    return cpus if device.type == "cuda" else 0


def _batches(
    pairs: Callable[[Sequence[Draw]], Sequence[Pair]],
    draws: Iterable[Sequence[Draw]],
    device: torch.device,
    threads: int,
    normalization: Normalization,
    team: Team = ALONE,
) -> Generator[Batch]:
    """Images travel to the device as bytes, a quarter of the size, while it still computes on the batch before.

    pairs: makes what was drawn, or this process's share of it.
    """

    def prepare(drawn: Sequence[Draw]) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        images, labels = zip(*pairs(drawn), strict=True)
        indices = tuple(draw.image for draw in team.share(drawn))
        pixels, classes = torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))
        if device.type == "cuda":  # only pinned memory can be copied while the program goes on
            return pixels.pin_memory(), classes.pin_memory(), indices
        return pixels, classes, indices

    with closing(in_order(prepare, draws, threads)) as prepared:
        for pixels, classes, indices in prepared:
            images = normalize(pixels.to(device, non_blocking=True).permute(0, 3, 1, 2), normalization)
            yield Batch(images, classes.to(device, non_blocking=True).long(), indices)


def normalize(pixels: Tensor, normalization: Normalization) -> Tensor:
    """(N, 3, h, w) uint8 RGB -> float32 with mean and standard deviation taken out."""
    mean, std = (torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in normalization)
    images = torch.empty(pixels.shape, device=pixels.device)
    # in place, and filled before it is computed on: a quarter of the time, since memory is what it waits for
    return images.copy_(pixels).sub_(255 * mean).mul_(1 / (255 * std))
