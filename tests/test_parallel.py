"""Trials of two processes: the numbers of one, exact resume, and no process left whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from street_trials import entry, street_config
from timm.layers import BatchNormAct2d
from timm.layers.split_batchnorm import SplitBatchNorm2d
from torch import Tensor, nn
from waiting import wait_until

from segsweep.trainables.cache.cached_split import open_split
from segsweep.trainables.catalog import AUGMENTATIONS, LOSSES
from segsweep.trainables.components import VOID, LossContext, adds_up
from segsweep.trainables.data.splits import open_dataset
from segsweep.trainables.masked_loss import build_loss
from segsweep.trainables.models._norms import LenientBatchNorm2d
from segsweep.trainables.parallel import ProcessLostError
from segsweep.trainables.scoring.confusions import load_confusions
from segsweep.trainables.training.batch_norm import synchronise
from segsweep.trainables.training.batches import Batch, shuffled, train_batches
from segsweep.trainables.training.divergence import DivergedError
from segsweep.trainables.training.team import ALONE, Team
from segsweep.trainables.trial import Trial

CLOCKS = {"epoch_s", "images_per_second", "peak_memory_gib"}


# Three batches of 3, 3 and 2 images; crops that reach beyond the image leave different shares of void.
config = partial(
    street_config,
    dataset=entry("streets", size=[48, 64], train=8, val=5, test=1),
    optimizer=entry("sgd", lr=0.02, weight_decay=0.01),
    augmentation=entry("standard"),
    epochs=2,
    batch_size=3,
    image_size=(48, 64),
)


def trained(folder: Path, processes: int, **changes: Any) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """The metrics of every epoch, and the weights and statistics at the end."""
    with Trial(config(**changes), folder, cpus=2, processes=processes) as trial:
        metrics = [dict(report.metrics) for report in trial.run()]
        return metrics, {name: value.clone() for name, value in trial._experiment.learner.model.state_dict().items()}


def followers_of(trial: Trial) -> list[int]:
    return [each._process.pid for each in trial._followers._processes]  # type: ignore[attr-defined]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


# -- the numbers of one process ----------------------------------------------------------------------------------------


def test_two_processes_train_what_one_trains_and_score_the_same(tmp_path: Path) -> None:
    changes = {"accumulation": 2, "clip_norm": 1.0, "ema": 0.9}
    with Trial(config(), tmp_path / "beside", cpus=2, processes=2):  # one that does not wait for it
        one, of_one = trained(tmp_path / "1", 1, **changes)
    two, of_two = trained(tmp_path / "2", 2, **changes)
    for ours, theirs in zip(two, one, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - CLOCKS:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-6, nan_ok=True), name
    torch.testing.assert_close(of_two, of_one, rtol=1e-3, atol=1e-4)
    ours, theirs = (load_confusions(tmp_path / name / "confusions.npz") for name in "21")
    assert ours.ids == theirs.ids
    assert all((ours.matrix(image) == theirs.matrix(image)).all() for image in range(5))


class Threads(Team):
    """Two threads of this process that hand each other tensors."""

    size = 2

    def __init__(self, rank: int, barrier: Barrier, held: list[Tensor]) -> None:
        self.rank, self._barrier, self._held = rank, barrier, held

    def stacked(self, mine: Tensor) -> Tensor:
        self._held[self.rank] = mine
        self._barrier.wait()
        found = torch.stack(self._held)
        self._barrier.wait()
        return found


def normalised(kind: type[nn.Module], batches: list[Tensor], idle: bool = False) -> list[tuple[nn.Module, Tensor]]:
    """What two threads make of a batch each: the layer after it, and the gradient of sum(outputs^3) at the images."""
    barrier, held = Barrier(2, timeout=20), [torch.empty(0)] * 2

    def of(rank: int) -> tuple[nn.Module, Tensor]:
        layer, team = kind(4).double(), Threads(rank, barrier, held)
        team.idle = idle and rank == 1
        synchronise(layer, team)
        images = batches[rank].clone().requires_grad_()
        cost = (layer(images) ** 3).sum() * (0 if team.idle else 1)
        cost.backward()
        assert images.grad is not None
        return layer, images.grad

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(of, range(2)))


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, LenientBatchNorm2d, BatchNormAct2d])
@pytest.mark.parametrize("sizes", [(3, 2), (1, 4), (5, 0)])
def test_statistics_and_gradients_are_those_of_the_whole_batch(kind: type[nn.Module], sizes: tuple[int, int]) -> None:
    whole = 5 + 3 * torch.randn(5, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parts = list(whole.split(sizes))
    idle = not sizes[1]
    found = normalised(kind, [parts[0], 100 * torch.ones_like(whole[:1]) if idle else parts[1]], idle)
    alone, images = kind(4).double(), whole.clone().requires_grad_()
    (alone(images) ** 3).sum().backward()
    for (layer, gradient), expected in zip(found, images.grad.split(sizes), strict=True):  # type: ignore[union-attr]
        torch.testing.assert_close(layer.state_dict(), alone.state_dict())
        torch.testing.assert_close(gradient if len(expected) else gradient[:0], expected)
    for ours, theirs in zip(
        zip(*(layer.parameters() for layer, _ in found), strict=True), alone.parameters(), strict=True
    ):
        torch.testing.assert_close(sum(each.grad for each in ours), theirs.grad)


def test_a_single_value_in_all_processes_is_no_statistic() -> None:
    image = torch.full((1, 4, 1, 1), 7.0, dtype=torch.float64)
    (layer, gradient), _ = normalised(LenientBatchNorm2d, [image, image], idle=True)
    alone, images = LenientBatchNorm2d(4).double(), image.clone().requires_grad_()
    (alone(images) ** 3).sum().backward()
    torch.testing.assert_close(layer.state_dict(), alone.state_dict())
    torch.testing.assert_close(gradient, images.grad)


def test_a_batch_norm_of_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^0 is a SplitBatchNorm2d, whose statistics cannot be synchronised"):
        synchronise(nn.Sequential(SplitBatchNorm2d(4)), ALONE)


# -- shares ------------------------------------------------------------------------------------------------------------


def of_rank(rank: int, size: int) -> Team:
    team = Team()
    team.rank, team.size = rank, size
    return team


@pytest.mark.parametrize("mixing", [{}, {"cutmix": 1.0}])
def test_the_shares_of_a_batch_are_the_batch_and_a_share_of_none_is_void(mixing: dict[str, float]) -> None:
    component = AUGMENTATIONS.get("standard")
    augment = component.build(component.Options.model_validate(mixing), (48, 64))
    split = open_split(open_dataset("streets", config().dataset.options), "streets", "train", (48, 64))

    def batches(team: Team) -> list[Batch]:
        return list(train_batches(split, augment, shuffled(8, 6, 0, 1), torch.device("cpu"), team=team))

    first, rest = batches(ALONE)
    shares = [batches(of_rank(rank, 4)) for rank in range(4)]
    for rank, (mine, _) in enumerate(shares):
        assert mine.indices == first.indices[rank::4]
        assert torch.equal(mine.images, first.images[rank::4])
        assert torch.equal(mine.labels, first.labels[rank::4])
    assert [mine.indices for _, mine in shares] == [rest.indices[:1], rest.indices[1:], (), ()]
    assert (shares[3][1].labels == VOID).all()


@pytest.mark.parametrize("name", [name for name in LOSSES.names() if name not in ("sum", "own")])
def test_a_loss_adds_up_over_parts_of_a_batch_where_it_says_so_and_else_does_not(name: str) -> None:
    component, random = LOSSES.get(name), torch.Generator().manual_seed(0)
    loss = build_loss(component, component.Options(), LossContext(3, lambda: torch.ones(3) / 3))
    logits = torch.randn(3, 3, 16, 16, generator=random)
    labels = torch.randint(3, (3, 4, 4), generator=random).repeat_interleave(4, 1).repeat_interleave(4, 2)
    labels[0, :10] = VOID
    labels[2] = 1
    logits[2, 1] += 4
    parts = [(float(loss(a, b)), int((b != VOID).sum())) for a, b in zip(logits.split(2), labels.split(2), strict=True)]
    added = sum(value * count for value, count in parts) / sum(count for _, count in parts)
    assert (added == pytest.approx(float(loss(logits, labels)), rel=1e-6)) is loss.adds_up


def test_a_sum_adds_up_if_all_of_its_terms_do() -> None:
    options = LOSSES.get("sum").Options
    for terms, expected in (({"focal": 1, "cross_entropy": 0.5}, True), ({"focal": 1, "dice": 1}, False)):
        assert adds_up(LOSSES.get("sum"), options.model_validate(terms)) is expected
    weighted = LOSSES.get("cross_entropy").Options.model_validate({"class_weights": "enet"})
    assert not adds_up(LOSSES.get("cross_entropy"), weighted)


# -- ends --------------------------------------------------------------------------------------------------------------


def test_a_killed_process_ends_the_trial_with_an_error_and_all_others(tmp_path: Path) -> None:
    with Trial(config(), tmp_path, cpus=2, processes=2) as trial:
        trial.step()
        (follower,) = followers_of(trial)
        os.kill(follower, signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(ProcessLostError, match=r"^process 2 of 2 was killed by signal 9"):
            trial.step()
        assert time.monotonic() - began < 20
        assert not alive(follower)


@pytest.mark.slow
def test_numbers_that_break_in_both_processes_are_one_error_and_leave_none_of_them(tmp_path: Path) -> None:
    sgd = entry("sgd", lr=1e30, weight_decay=0.0)
    with Trial(config(optimizer=sgd), tmp_path, cpus=2, processes=2) as trial:
        (follower,) = followers_of(trial)
        with pytest.raises(DivergedError, match=r"^train loss is nan in epoch 1, step 2, at lr "):
            trial.step()
        assert not alive(follower)


@pytest.mark.slow
def test_a_resumed_trial_of_two_processes_ends_with_the_same_weights(tmp_path: Path) -> None:
    changes = {
        "optimizer": entry("schedule_free", lr=0.01, weight_decay=0.01),
        "model": entry("linknet", encoder="tu-mobilenetv3_small_050", freeze={"parts": ["encoder"], "epochs": 1}),
        "epochs": 3,
    }
    metrics, expected = trained(tmp_path / "through", 2, **changes)
    for _ in range(2):
        with Trial(config(**changes), tmp_path / "in_parts", cpus=2, processes=2, reported=3) as trial:
            (follower,) = followers_of(trial)
            trial.step()
        assert not alive(follower)
    resumed, found = trained(tmp_path / "in_parts", 2, **changes)
    assert [each["val_loss"] for each in resumed] == [each["val_loss"] for each in metrics]
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.slow
def test_a_process_whose_leader_is_killed_ends_by_itself(tmp_path: Path) -> None:
    script = f"""
        import os, signal, sys
        from pathlib import Path
        from segsweep.trainables.config import TrialConfig
        from segsweep.trainables.trial import Trial

        trial = Trial(TrialConfig.model_validate_json(sys.argv[1]), Path({str(tmp_path)!r}), cpus=2, processes=2)
        trial.step()
        print(trial._followers._processes[0]._process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    command = [sys.executable, "-c", textwrap.dedent(script), config().model_dump_json()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    wait_until(lambda: not alive(int(ended.stdout)), "the follower has ended", 20)
