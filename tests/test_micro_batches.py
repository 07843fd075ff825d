"""What becomes of a trial whose batches memory does not hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from street_trials import entry, street_config
from torch import nn

from segsweep.trainables.components import DataError, DoesNotFitError
from segsweep.trainables.training import checkpoint
from segsweep.trainables.training.batches import Batch
from segsweep.trainables.training.learner import Learner
from segsweep.trainables.training.micro_batches import cut, halving, normalizes_batches, out_of_memory
from segsweep.trainables.trial import EpochReport, Trial

STREETS = entry("streets", size=[48, 64], train=11, val=3, test=2)


config = partial(
    street_config,
    dataset=STREETS,
    model={"type": "unet_2015", "name": "plain", "options": {"width": 2, "batch_norm": False, "dropout": 0.0}},
    optimizer=entry("sgd", lr=0.01, weight_decay=0.01),
    augmentation=entry("light"),
    epochs=2,
    image_size=(32, 48),
    ema=0.9,
)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = checkpoint.load(folder / "last.pt")["model"]
    return found


class Small(nn.Module):
    """A loss on a device that holds the logits of `most` images at once, from the call after `after` others on."""

    def __init__(self, inner: nn.Module, most: int, after: int = 0) -> None:
        super().__init__()
        self.inner, self.most, self.after = inner, most, after
        self.adds_up = inner.adds_up

    def forward(self, images: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        self.after -= 1
        if len(images) > self.most and self.after < 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        found: torch.Tensor = self.inner(images, *rest)
        return found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """While it says [most, after], learners that are built train with a loss on such a device."""
    says: list[int] = []
    built = Learner.__post_init__

    def post_init(learner: Learner) -> None:
        if says:
            learner.loss = Small(learner.loss, *says)
        built(learner)

    monkeypatch.setattr(Learner, "__post_init__", post_init)
    return says


def run(folder: Path, **changes: object) -> tuple[list[EpochReport], Trial]:
    with Trial(config(**changes), folder) as it:
        return list(it.run()), it


# -- cutting and halving ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "size", "least", "parts"),
    [
        (8, None, 1, [8]),
        (8, 8, 1, [8]),
        (8, 4, 1, [4, 4]),
        (5, 4, 1, [2, 3]),
        (7, 3, 1, [2, 2, 3]),
        (3, 2, 1, [1, 2]),
        (3, 2, 2, [3]),
        (5, 2, 2, [2, 3]),
        (1, 2, 2, [1]),
        (3, 1, 1, [1, 1, 1]),
    ],
)
def test_a_batch_is_cut_evenly_and_not_below_what_a_network_can_train_on(
    images: int, size: int | None, least: int, parts: list[int]
) -> None:
    batch = Batch(torch.arange(images), torch.arange(images) + 10, tuple(range(20, 20 + images)))
    found = list(cut(batch, size, least))
    assert [len(part.images) for part in found] == parts
    assert torch.cat([part.images for part in found]).equal(batch.images)
    assert torch.cat([part.labels for part in found]).equal(batch.labels)
    assert tuple(index for part in found for index in part.indices) == batch.indices


def test_half_as_many_are_tried_until_they_fit() -> None:
    tried: list[int] = []

    def attempt(size: int) -> str:
        tried.append(size)
        if size > 3:
            raise MemoryError
        return "done"

    assert halving(attempt, 11, "of 8x8") == ("done", 2)
    assert tried == [11, 5, 2]


def test_too_little_memory_for_the_least_is_told_with_the_reason() -> None:
    def attempt(size: int) -> None:
        raise RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    message = r"^memory does not hold 2 images of 8x8: .*you tried to allocate 9 bytes$"
    with pytest.raises(DoesNotFitError, match=message) as caught:
        halving(attempt, 8, "of 8x8", lambda: 2)
    assert caught.value.__context__ is None  # whose frames would keep what the attempt computed
    assert not out_of_memory(caught.value)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    tried: list[int] = []

    def attempt(size: int) -> None:
        tried.append(size)
        raise ValueError("a bad label")

    with pytest.raises(ValueError, match="a bad label"):
        halving(attempt, 8, "of 8x8")
    assert tried == [8]


def test_a_lack_of_memory_shows_through_the_error_of_a_batch() -> None:
    error = DataError("a.png cannot be augmented")
    assert not out_of_memory(error)
    error.__cause__ = MemoryError()
    assert out_of_memory(error)


def test_batch_norm_counts_unless_it_is_frozen() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    assert normalizes_batches(model)
    assert not normalizes_batches(model.requires_grad_(False))
    assert not normalizes_batches(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)))


# -- a trial ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_update_stays_that_of_the_whole_batch(tmp_path: Path, small: list[int], accumulation: int) -> None:
    whole, _ = run(tmp_path / "whole", accumulation=accumulation, epochs=1)
    small[:] = [2, 0]
    cut_up, it = run(tmp_path / "cut", accumulation=accumulation, epochs=1)
    assert (it.facts["micro_batch"], it.facts["smaller_batches_for"]) == (2, "")
    ours, theirs = weights(tmp_path / "cut"), weights(tmp_path / "whole")
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in theirs)
    for one, other in zip(whole, cut_up, strict=True):
        assert one.metrics["train_loss"] == pytest.approx(other.metrics["train_loss"], rel=1e-5)
        assert one.metrics["iterations"] == other.metrics["iterations"]


def test_an_epoch_begins_again_exactly_where_it_had_begun(tmp_path: Path, small: list[int]) -> None:
    with Trial(config(), tmp_path / "by hand") as it:
        it.step()
    with Trial(config(), tmp_path / "by hand", reported=1) as it:
        it._experiment.learner.micro_batch = 2
        it.step()
    small[:] = [2, 3 + 1 + 1]  # an epoch has 3 batches to train on and 1 to score: in the second of the second epoch
    run(tmp_path / "found")
    ours, theirs = checkpoint.load(tmp_path / "found" / "last.pt"), checkpoint.load(tmp_path / "by hand" / "last.pt")
    assert ours["micro_batch"] == theirs["micro_batch"] == 2
    for part in ("model", "average"):
        assert all(torch.equal(ours[part][name], theirs[part][name]) for name in theirs[part])
    assert ours["lr_schedule"] == theirs["lr_schedule"]


def test_a_resumed_trial_begins_with_what_memory_held(tmp_path: Path, small: list[int]) -> None:
    small[:] = [1, 0]
    with Trial(config(), tmp_path) as it:
        it.step()
        assert it.facts["micro_batch"] == 1
    small[:] = []
    with Trial(config(), tmp_path) as it:
        assert it.facts["micro_batch"] == 1
        assert it._experiment.learner.scoring_batch == 1
        assert it.config.batch_size == 4  # what was asked for


def test_scores_do_not_depend_on_how_many_images_are_scored_at_once(tmp_path: Path, small: list[int]) -> None:
    (first, _), _ = run(tmp_path / "whole")
    small[:] = [1, 3]  # the first epoch's 3 batches are trained on before memory runs short
    with Trial(config(), tmp_path / "short") as it:
        found = it.step()
        assert it.facts["micro_batch"] == 4
        assert it._experiment.learner.scoring_batch == 1
    for name in ("val_miou", "val_pixel_accuracy", "train_loss"):
        assert found.metrics[name] == first.metrics[name]
    assert found.metrics["val_loss"] == pytest.approx(first.metrics["val_loss"], rel=1e-6)


def test_what_sees_smaller_batches_is_a_fact(tmp_path: Path, small: list[int]) -> None:
    small[:] = [2, 0]
    model = {"type": "unet_2015", "name": "normed", "options": {"width": 2}}
    _, it = run(tmp_path, model=model, loss={"type": "dice", "name": "dice"}, epochs=1)
    assert (it.facts["micro_batch"], it.facts["smaller_batches_for"]) == (2, "BatchNorm, dice")


def test_a_trial_that_memory_cannot_hold_says_size_batch_and_device(tmp_path: Path, small: list[int]) -> None:
    small[:] = [0, 0]
    message = r"memory does not hold 1 image of 32x48 at once \(batch_size 4, on cpu\): CUDA out of memory. Tried"
    with Trial(config(), tmp_path) as it, pytest.raises(DoesNotFitError, match=message):
        it.step()


def test_networks_that_need_two_images_are_not_given_one(tmp_path: Path, small: list[int]) -> None:
    small[:] = [1, 0]
    model = {"type": "unet", "name": "unet", "options": {"encoder": "resnet18"}}
    tiny = config(model=model, image_size=(32, 32))  # of which BatchNorm sees 1x1 at the end
    with Trial(tiny, tmp_path) as it, pytest.raises(DoesNotFitError, match="memory does not hold 2 images of 32x32"):
        it.step()


LIMITED = """
import json, resource, sys
from pathlib import Path
import torch
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.trial import Trial

config, folder, spare_mib = TrialConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
with Trial(config, folder) as trial:
    if spare_mib:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + spare_mib * 2**20,) * 2)
    reports = [report.metrics["train_loss"] for report in trial.run()]
    print(json.dumps([trial.facts["micro_batch"], reports]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address space is limited by RLIMIT_AS")
def test_a_process_that_really_has_too_little_memory_trains_the_same_weights(tmp_path: Path) -> None:
    """Addresses are limited, so what is freed has to leave the address space: a low threshold for mmap sees to it."""
    model = {"type": "unet_2015", "name": "plain", "options": {"width": 12, "batch_norm": False, "dropout": 0.0}}
    large = config(model=model, batch_size=8, image_size=(128, 192), epochs=1).model_dump_json()

    def train(name: str, spare_mib: int) -> tuple[float, list[float]]:
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", LIMITED, large, str(tmp_path / name), str(spare_mib)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
        assert done.returncode == 0, done.stderr
        micro_batch, losses = json.loads(done.stdout)
        return micro_batch, losses

    micro_batch, losses = train("short", 160)
    whole, expected = train("whole", 0)
    assert (whole, micro_batch < 8) == (8, True)
    assert losses == pytest.approx(expected, rel=1e-5)
    ours, theirs = weights(tmp_path / "short"), weights(tmp_path / "whole")
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in theirs)
