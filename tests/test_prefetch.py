"""Batches that are prepared ahead: the same ones, in order, in bounded number, and gone when they are not wanted."""

from __future__ import annotations

import threading

import pytest
import torch

from segsweep.trainables.augmentations import light
from segsweep.trainables.cache.cached_split import CachedSplit, open_split
from segsweep.trainables.components import DataError, Pair
from segsweep.trainables.datasets import streets
from segsweep.trainables.training.batches import Batch, prefetch_threads, shuffled, train_batches
from segsweep.trainables.training.prefetch import AHEAD, in_order

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> CachedSplit:
    data = streets.build(streets.Options(train=23, size=(48, 64)))
    return open_split(data, "streets", "train", (48, 64), tmp_path_factory.mktemp("cache"))


def epoch(split: CachedSplit, threads: int) -> list[Batch]:
    return list(
        train_batches(split, light.build(light.Options(), (48, 64)), shuffled(len(split), 4, 1, 1), CPU, threads)
    )


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_batches_are_the_same_for_any_number_of_threads(split: CachedSplit, threads: int) -> None:
    expected, batches = epoch(split, 0), epoch(split, threads)
    assert len(batches) == len(expected) == 6
    for batch, reference in zip(batches, expected, strict=True):
        assert batch.indices == reference.indices
        assert torch.equal(batch.images, reference.images)
        assert torch.equal(batch.labels, reference.labels)


@pytest.mark.parametrize("threads", [0, 2])
def test_an_image_that_cannot_be_augmented_is_named(split: CachedSplit, threads: int) -> None:
    def refuse(pair: Pair, seed: int) -> Pair:
        if pair.image.tobytes() == split.pair(7).image.tobytes():
            raise ValueError("no such luck")
        return pair

    with pytest.raises(DataError, match=r"train-00007: cannot be augmented, .*no such luck"):
        list(train_batches(split, refuse, shuffled(len(split), 4, 1, 1), CPU, threads))
    assert running() == []


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_results_come_in_order_and_an_error_when_its_turn_comes() -> None:
    first = threading.Event()

    def work(task: int) -> int:
        if task == 0:
            first.wait(10)  # until all others have started
        if task == 3:
            first.set()
            raise ValueError("three")
        return task

    results = in_order(work, range(4), 4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_no_more_is_prepared_than_may_wait() -> None:
    begun: list[int] = []
    results = in_order(lambda task: begun.append(task) or task, range(100), 2)
    for taken in range(1, 50):
        next(results)
        assert len(begun) <= taken + 2 + AHEAD
    results.close()
    assert len(begun) < 60


def test_leaving_early_ends_the_threads(split: CachedSplit) -> None:
    batches = train_batches(split, lambda pair, seed: pair, shuffled(len(split), 4, 1, 1), CPU, 2)
    next(batches)
    assert running()
    batches.close()
    assert running() == []


def test_threads_prepare_batches_for_gpus_only() -> None:
    assert [prefetch_threads(torch.device("cuda"), cpus) for cpus in (1, 4)] == [1, 4]
    assert prefetch_threads(CPU, 4) == 0
