"""What a batch holds: every image once an epoch, normalised, with a seed of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from street_trials import dataset_of, entry, street_config
from torch import nn

from segsweep.trainables import catalog
from segsweep.trainables.cache.cached_split import CachedSplit, open_split
from segsweep.trainables.components import VOID, LossContext, Pair, Split
from segsweep.trainables.data.normalization import IMAGENET
from segsweep.trainables.masked_loss import build_loss
from segsweep.trainables.training.batches import batches_per_epoch, eval_batches, shuffled, train_batches
from segsweep.trainables.training.learner import Learner
from segsweep.trainables.training.loop import train_epoch

CPU = torch.device("cpu")
SEVEN = entry("streets", size=[48, 64], train=7, val=3, test=1)


def streets(split: Split) -> CachedSplit:
    return open_split(dataset_of(street_config(dataset=SEVEN)), "streets", split, (48, 64))


def unchanged(pair: Pair, seed: int) -> Pair:
    return pair


@pytest.mark.parametrize(
    ("images", "batch_size", "batches"), [(7, 4, 2), (8, 4, 2), (9, 4, 2), (10, 4, 3), (1, 4, 1), (3, 1, 3), (3, 8, 1)]
)
def test_a_last_batch_of_one_is_dropped_unless_it_is_the_only_one(images: int, batch_size: int, batches: int) -> None:
    assert batches_per_epoch(images, batch_size) == batches


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own() -> None:
    split = streets("train")
    orders = [
        [i for b in train_batches(split, unchanged, shuffled(7, 4, 1, epoch), CPU) for i in b.indices]
        for epoch in (1, 2, 1)
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(7))
    assert orders[0] == orders[2] != orders[1]


def test_an_image_gets_another_augmentation_seed_in_every_epoch_and_the_same_one_again() -> None:
    seen: list[int] = []

    def remember(pair: Pair, seed: int) -> Pair:
        seen.append(seed)
        return pair

    split = streets("train")
    for epoch in (1, 2, 1):
        list(train_batches(split, remember, shuffled(7, 4, 1, epoch), CPU))
    assert seen[:7] == seen[14:]
    assert len(set(seen)) == 14


def test_batches_are_normalised_as_pretrained_encoders_expect() -> None:
    split = streets("val")
    (batch,) = eval_batches(split, 8, CPU)
    images, labels = zip(*(split.pair(i) for i in range(len(split))), strict=True)
    expected = (np.stack(images) / 255 - IMAGENET.mean) / IMAGENET.std
    assert batch.images.dtype == torch.float32
    assert np.allclose(batch.images.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-6)
    assert batch.labels.dtype == torch.int64
    assert np.array_equal(batch.labels.numpy(), np.stack(labels))


def test_an_all_void_batch_costs_nothing_and_breaks_nothing() -> None:
    component = catalog.LOSSES.get("cross_entropy")
    loss = build_loss(component, component.Options(), LossContext(2, lambda: torch.ones(2) / 2))
    model = nn.Conv2d(3, 2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    void = [b._replace(labels=torch.full_like(b.labels, VOID)) for b in eval_batches(streets("train"), 4, CPU)]
    assert train_epoch(Learner(model, loss, optimizer, schedule), void, epoch=1).loss == 0
