"""What an epoch consists of: updates of so many batches each, drawn so that a resumed trial goes on exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from segsweep.trainables.config import TrialConfig
from segsweep.trainables.training.batches import Draw, batches_per_epoch, shuffled

T = TypeVar("T")


def updates_per_epoch(config: TrialConfig, images: int) -> int:
    """`steps_per_epoch`, or as many as it takes to see every image once. images: of the train split."""
    return config.steps_per_epoch or -(-batches_per_epoch(images, config.batch_size) // config.accumulation)


def draws(config: TrialConfig, images: int, epoch: int) -> list[list[Draw]]:
    """The batches of an epoch (1, 2 ...). They follow from the configuration alone.

    With `steps_per_epoch`, epochs are cut out of an endless sequence of passes over the images, each shuffled anew: so
    the images of a huge dataset all have their turn, and those of a tiny one appear several times in an epoch.
    """
    if config.steps_per_epoch is None:
        return shuffled(images, config.batch_size, config.seed, epoch)
    length = config.steps_per_epoch * config.accumulation
    first, after = divmod((epoch - 1) * length, batches_per_epoch(images, config.batch_size))
    return list(islice(_endless(config, images, first + 1), after, after + length))


def _endless(config: TrialConfig, images: int, number: int) -> Iterator[list[Draw]]:
    """The batches of pass `number` (1, 2 ...), then those of the passes after it."""
    while True:
        yield from shuffled(images, config.batch_size, config.seed, number)
        number += 1


def grouped(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """Lists of `size` items, the last one perhaps shorter; each is asked for when it is needed."""
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group
