"""The training loop: accumulation, clipping, averaged weights, epochs of a fixed length, and numbers that break."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from street_trials import entry, street_config
from torch import Tensor, nn

from segsweep.trainables.catalog import LOSSES
from segsweep.trainables.components import VOID, LossContext
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.masked_loss import build_loss
from segsweep.trainables.training import checkpoint
from segsweep.trainables.training.batches import Batch
from segsweep.trainables.training.divergence import DivergedError, first_broken
from segsweep.trainables.training.epochs import draws, grouped, updates_per_epoch
from segsweep.trainables.training.experiment import averaged
from segsweep.trainables.training.learner import Learner
from segsweep.trainables.training.loop import train_epoch
from segsweep.trainables.trial import Trial

config = partial(
    street_config,
    dataset=entry("streets", size=[32, 32], train=5, val=1, test=1),
    optimizer=entry("adamw", lr=1e-3, weight_decay=0.1),
    epochs=2,
    batch_size=2,
    image_size=(32, 32),
)


def learner(model: nn.Module, lr: float = 0.1, **changes: Any) -> Learner:
    component = LOSSES.get("cross_entropy")
    loss = build_loss(component, component.Options(), LossContext(4, lambda: torch.ones(4) / 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    return Learner(model, loss, optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0), **changes)


def batches(sizes: Iterable[int], labelled: Iterable[float] = ()) -> list[Batch]:
    """Random images; labelled: which share of each image's pixels is not void."""
    random = torch.Generator().manual_seed(0)
    shares, found = [*labelled], []
    images = sum(sizes := [*sizes])
    pixels = torch.rand(images, 3, 8, 8, generator=random, dtype=torch.float64)
    labels = torch.randint(0, 4, (images, 8, 8), generator=random)
    for image, share in enumerate(shares):
        labels[image].view(-1)[int(64 * share) :] = VOID
    for size in sizes:
        found.append(Batch(pixels[:size], labels[:size], tuple(range(size))))
        pixels, labels = pixels[size:], labels[size:]
    return found


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.GELU(), nn.Conv2d(6, 4, 1)).double()


# -- accumulation ------------------------------------------------------------------------------------------------------


def test_accumulated_batches_are_one_large_batch_however_unevenly_they_are_labelled() -> None:
    shares = [1.0, 0.1, 0.0, 0.7, 0.5, 0.02]
    small, large = network(), network()
    train_epoch(learner(small, accumulation=3), batches([2, 2, 2], shares), epoch=1)
    train_epoch(learner(large), batches([6], shares), epoch=1)
    for ours, theirs in zip(small.parameters(), large.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)  # losses are float32
    equal = network()
    for batch in batches([2, 2, 2], shares):  # as if every batch counted the same
        (learner(equal).loss(equal(batch.images), batch.labels) / 3).backward()
    assert not torch.allclose(
        next(equal.parameters()).grad * -0.1, next(small.parameters()) - next(network().parameters())
    )


def test_the_last_group_of_an_epoch_may_be_smaller() -> None:
    small, large = network(), network()
    train_epoch(learner(small, accumulation=2), batches([2, 2, 2]), epoch=1)
    train_epoch(learner(large), batches([4, 2]), epoch=1)
    for ours, theirs in zip(small.parameters(), large.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_a_group_without_a_labelled_pixel_changes_nothing() -> None:
    model = network()
    trained = train_epoch(learner(model, accumulation=2), batches([1, 1], [0.0, 0.0]), epoch=1)
    assert trained.loss == 0
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), network().parameters(), strict=True))


def test_the_loss_of_an_epoch_is_the_mean_over_its_labelled_pixels() -> None:
    shares = [1.0, 0.1, 0.0, 0.7]
    still = learner(network(), lr=0.0, accumulation=2)
    whole = learner(network(), lr=0.0)
    found = train_epoch(still, batches([1, 1, 1, 1], shares), epoch=1)
    assert found.loss == pytest.approx(train_epoch(whole, batches([4], shares), epoch=1).loss, rel=1e-6)
    assert found.images == 4


def test_groups_are_asked_for_one_by_one() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for item in range(5):
            asked.append(item)
            yield item

    groups = grouped(items(), 2)
    assert (next(groups), asked) == ([0, 1], [0, 1])
    assert [*groups] == [[2, 3], [4]]


# -- clipping ----------------------------------------------------------------------------------------------------------


def update_of(clip_norm: float | None) -> float:
    """The length of one step of SGD at lr 1."""
    model = network()
    train_epoch(learner(model, lr=1.0, clip_norm=clip_norm), batches([4]), epoch=1)
    steps = [a.detach() - b.detach() for a, b in zip(model.parameters(), network().parameters(), strict=True)]
    return math.sqrt(sum(float(step.square().sum()) for step in steps))


def test_a_gradient_that_is_too_long_is_cut_and_a_shorter_one_is_left_alone() -> None:
    free = update_of(None)
    assert free > 0.02
    assert update_of(0.01) == pytest.approx(0.01, rel=1e-3)
    assert update_of(2 * free) == free


# -- averaged weights --------------------------------------------------------------------------------------------------


def test_the_average_follows_the_weights_and_statistics_with_a_decay_that_grows() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).double()
    it = learner(model, average=averaged(model, 0.6))
    weights, means = [], []
    it.begin(1)
    for batch in batches([2, 2, 2, 2]):
        it.optimizer.zero_grad()
        it.loss(it.model(batch.images), batch.labels).backward()
        it.update()
        weights.append(model.get_parameter("0.weight").detach().clone())
        means.append(model.get_buffer("1.running_mean").clone())
    weight, mean = weights[0], means[0]  # the first update is copied
    for number, (next_weight, next_mean) in enumerate(zip(weights[1:], means[1:], strict=True), start=1):
        decay = min(0.6, 1 - (1 + number) ** (-2 / 3))
        weight, mean = decay * weight + (1 - decay) * next_weight, decay * mean + (1 - decay) * next_mean
    assert [min(0.6, 1 - (1 + number) ** (-2 / 3)) for number in (1, 2, 3)][1:] != [0.6, 0.6]
    torch.testing.assert_close(it.scored.get_parameter("0.weight").detach(), weight)
    torch.testing.assert_close(it.scored.get_buffer("1.running_mean"), mean)
    assert it.scored.get_buffer("1.num_batches_tracked") == 4
    assert not it.scored.training


def test_the_averaged_weights_are_scored_and_saved_and_the_others_trained(tmp_path: Path) -> None:
    with Trial(config(ema=0.9), tmp_path / "average") as trial:
        trial.step()
    with Trial(config(), tmp_path / "plain") as plain:
        plain.step()
    best, last = checkpoint.load(tmp_path / "average/best.pt"), checkpoint.load(tmp_path / "average/last.pt")
    usual = checkpoint.load(tmp_path / "plain/last.pt")
    assert all(torch.equal(tensor, last["average"][name]) for name, tensor in best["model"].items())
    assert all(torch.equal(tensor, usual["model"][name]) for name, tensor in last["model"].items())
    assert not all(torch.equal(tensor, last["model"][name]) for name, tensor in best["model"].items())
    assert last["history"][0]["train_loss"] == usual["history"][0]["train_loss"]
    assert last["history"][0]["val_loss"] != usual["history"][0]["val_loss"]


# -- epochs of a fixed length ------------------------------------------------------------------------------------------


def seen(given: TrialConfig, images: int, epochs: int) -> list[list[int]]:
    return [[draw.image for batch in draws(given, images, epoch) for draw in batch] for epoch in range(1, epochs + 1)]


def test_without_a_fixed_length_an_epoch_shows_every_image_once() -> None:
    assert [sorted(epoch) for epoch in seen(config(), 6, 2)] == [[0, 1, 2, 3, 4, 5]] * 2
    assert updates_per_epoch(config(), 6) == 3
    assert updates_per_epoch(config(accumulation=2), 6) == 2


def test_epochs_of_a_fixed_length_go_through_a_huge_dataset_without_repeating_or_leaving_out_an_image() -> None:
    fixed = config(steps_per_epoch=2, accumulation=3)  # 12 images an epoch
    epochs = seen(fixed, 30, 5)
    assert [len(epoch) for epoch in epochs] == [12] * 5
    flat = [image for epoch in epochs for image in epoch]
    assert sorted(flat[:30]) == sorted(flat[30:]) == [*range(30)]
    assert flat[:30] != flat[30:]
    assert updates_per_epoch(fixed, 30) == 2


def test_epochs_of_a_fixed_length_cycle_a_tiny_dataset() -> None:
    fixed = config(steps_per_epoch=10)  # 20 images an epoch, of 4
    (epoch,) = seen(fixed, 4, 1)
    passes = [epoch[start : start + 4] for start in range(0, 20, 4)]
    assert all(sorted(each) == [0, 1, 2, 3] for each in passes)
    assert len({tuple(each) for each in passes}) > 1
    seeds = [draw.seed for batch in draws(fixed, 4, 1) for draw in batch]
    assert len({*seeds}) == 20  # augmented differently each time


def test_the_first_passes_are_those_of_epochs_without_a_fixed_length() -> None:
    plain = config()
    assert draws(config(steps_per_epoch=3), 6, 2) == draws(plain, 6, 2)
    assert draws(config(seed=2), 6, 1) != draws(plain, 6, 1)


def test_updates_and_lr_follow_the_fixed_length(tmp_path: Path) -> None:
    with Trial(config(steps_per_epoch=5, accumulation=2), tmp_path) as trial:
        reports = [*trial.run()]
    assert [report.metrics["iterations"] for report in reports] == [5, 10]
    assert [report.metrics["lr"] for report in reports] == pytest.approx([1e-3 * 0.6**0.9, 1e-3 * 0.1**0.9])


# -- numbers that break ------------------------------------------------------------------------------------------------


class Fragile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.explode = nn.Conv2d(4, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.explode(self.norm(self.first(images)) * 1e30)
        return logits


def broken_in(model: nn.Module, images: Tensor | None = None) -> str:
    return first_broken(model.train(), torch.rand(2, 3, 8, 8) if images is None else images)


def test_the_first_tensor_that_is_not_finite_is_named() -> None:
    model = Fragile()
    assert broken_in(model) == "the loss"
    with torch.no_grad():
        model.explode.weight.fill_(1e30)
    assert broken_in(model) == "the output of explode"
    with torch.no_grad():
        model.norm.running_var[1] = math.inf
    assert broken_in(model) == "statistic norm.running_var"
    with torch.no_grad():
        model.first.bias[2] = math.nan
    assert broken_in(model) == "weight first.bias"
    assert broken_in(model, torch.full((1, 3, 8, 8), math.nan)) == "an image"


def test_an_end_by_divergence_says_where_and_what() -> None:
    model = Fragile()
    with torch.no_grad():
        model.explode.weight.fill_(1e30)
    found = [batch._replace(images=batch.images.float()) for batch in batches([2, 2])]
    with pytest.raises(DivergedError) as ended:
        train_epoch(learner(model, lr=0.5), found, epoch=3)
    words = "in epoch 3, step 1, at lr 0.5: the output of explode is not finite; a lower lr may cure it, or clip_norm"
    assert str(ended.value).endswith(words)
    assert (ended.value.epoch, ended.value.step, ended.value.lr) == (3, 1, 0.5)


def test_the_boundary_loss_rises_with_the_epochs_beside_one_that_does_not() -> None:
    """Kervadec et al. 2019: 0.01 of it in the first epoch, and 0.01 more in every further one."""
    component, logits = LOSSES.get("sum"), torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(4).repeat_interleave(9).view(1, 6, 6)
    context = LossContext(4, lambda: torch.ones(4) / 4)
    terms = {"generalised_dice": 1, "boundary": {"weight": 0.01, "rise": 1}}
    summed = build_loss(component, component.Options.model_validate(terms), context)
    learning = learner(nn.Conv2d(3, 4, 1))
    learning.loss = summed
    alone = [build_loss(LOSSES.get(name), LOSSES.get(name).Options(), context)(logits, labels) for name in terms]
    for epoch in (1, 2, 7):
        learning.begin(epoch)
        assert summed(logits, labels).item() == pytest.approx((alone[0] + 0.01 * epoch * alone[1]).item(), rel=1e-5)
