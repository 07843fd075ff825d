"""A trial that is interrupted after any epoch ends with the same weights, bit for bit, whatever it is trained with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from street_trials import entry, street_config
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segsweep.trainables.catalog import LR_SCHEDULES, MODELS, OPTIMIZERS
from segsweep.trainables.config import Objective, TrialConfig
from segsweep.trainables.model_options import ModelOptions
from segsweep.trainables.optimizers import schedule_free
from segsweep.trainables.training import checkpoint
from segsweep.trainables.training.learner import Learner
from segsweep.trainables.trial import Trial

EPOCHS = 3
RISING_LOSS = Objective(metric="val_loss", mode="max")  # does not improve, so that plateau has something to do


class Encoder(nn.Module):
    """Two stages, as encoders of SMP give them: with statistics and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(8, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8))

    def forward(self, images: Tensor) -> list[Tensor]:
        first = self.first(images)
        return [images, first, self.second(first)]


class Tiny(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2))
        self.segmentation_head = nn.Conv2d(8, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.segmentation_head(self.decoder(self.encoder(images)[-1]))
        return nn.functional.interpolate(logits, images.shape[2:])


def tiny() -> ModuleType:
    component: Any = ModuleType("tiny")
    component.Options = ModelOptions
    component.family = lambda options: "cnn"
    component.build = lambda options, task: Tiny(task.num_classes)
    return component


config = partial(
    street_config,
    dataset=entry("streets", size=[32, 32], train=5, val=1, test=1),
    model=entry("tiny"),
    optimizer=entry("adamw", lr=1e-3, weight_decay=0.1),
    epochs=EPOCHS,
    batch_size=2,
    image_size=(32, 32),
)


@pytest.fixture(autouse=True, scope="module")
def tiny_model() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS._registered, "tiny", tiny())
        yield


def trained(trial_config: TrialConfig, folder: Path, *, cut_after: tuple[int, ...] = ()) -> Any:
    """last.pt of the finished trial, whose process ends after each of the epochs `cut_after`."""
    for attempt, last in enumerate((*cut_after, EPOCHS), start=1):
        with Trial(trial_config, folder, attempt=attempt) as trial:
            while trial.epoch < last:
                trial.step()
    return checkpoint.load(folder / "last.pt")


def assert_same(ours: Any, theirs: Any) -> None:
    """Weights and statistics, the optimizer's state and the LR schedule's."""
    for key in ours.keys() - {"config", "history"}:
        flat, other = leaves(ours[key]), leaves(theirs[key])
        assert flat.keys() == other.keys()
        assert [path for path in flat if not equal(flat[path], other[path])] == []


def leaves(tree: Any, path: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        return {k: v for key, child in tree.items() for k, v in leaves(child, f"{path}.{key}").items()}
    return {path: tree}


def equal(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else bool(a == b)


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_every_optimizer_resumes_exactly_before_and_after_a_thaw(name: str, tmp_path: Path) -> None:
    needed = {"optimizer": "adan"} if name == "timm" else {}
    thawing = entry("tiny", freeze={"stages": 1, "epochs": 1})
    given = config(optimizer=entry(name, lr=1e-3, weight_decay=0.1, **needed), model=thawing)
    assert_same(trained(given, tmp_path / "a", cut_after=(1, 2)), trained(given, tmp_path / "b"))


@pytest.mark.parametrize(
    "changes",
    [
        {"ema": 0.9},
        {"accumulation": 2},
        {"clip_norm": 0.1},
        {"steps_per_epoch": 1},
        {"steps_per_epoch": 7},
        {"precision": "bf16", "ema": 0.9},
        {"channels_last": True},
        {"ema": 0.9, "accumulation": 2, "clip_norm": 0.1, "steps_per_epoch": 4, "batch_size": 1},
        {"ema": 0.9, "optimizer": entry("schedule_free", lr=1e-2, weight_decay=0.1), "accumulation": 2},
    ],
    ids=str,
)
def test_every_setting_of_the_loop_resumes_exactly(changes: dict[str, Any], tmp_path: Path) -> None:
    thawing = entry("tiny", freeze={"parts": ["encoder"], "epochs": 2})
    given = config(model=thawing, **changes)
    straight = trained(given, tmp_path / "b")
    assert_same(trained(given, tmp_path / "a", cut_after=(1, 2)), straight)
    assert ("average" in straight) == ("ema" in changes)


@pytest.mark.parametrize("name", LR_SCHEDULES.names())
def test_every_lr_schedule_resumes_exactly(name: str, tmp_path: Path) -> None:
    warmed = {} if name == "one_cycle" else {"warmup_epochs": 0.7}
    watching = {"patience": 1} if name == "plateau" else {}
    given = config(lr_schedule=entry(name, **warmed, **watching), objective=RISING_LOSS)
    assert_same(trained(given, tmp_path / "a", cut_after=(1, 2)), trained(given, tmp_path / "b"))


def test_plateau_lowers_lr_after_epochs_without_a_new_best(tmp_path: Path) -> None:
    with Trial(config(lr_schedule=entry("plateau", patience=1), objective=RISING_LOSS, epochs=4), tmp_path) as trial:
        lrs = [report.metrics["lr"] for report in trial.run()]
        values = [metrics["val_loss"] for metrics in trial._history]
    falls, best, expected = 0, -math.inf, []
    for value in values:
        expected.append(1e-3 * 0.1**falls)
        falls, best = falls + (value <= best), max(value, best)
    assert lrs == pytest.approx(expected)
    assert falls > 0


def test_schedule_free_saves_the_average_with_statistics_of_its_own(tmp_path: Path) -> None:
    free = config(optimizer=entry("schedule_free", lr=1e-2, weight_decay=0.0), lr_schedule=entry("constant"))
    with Trial(free, tmp_path) as trial:
        trial.step()
        learner = trial._experiment.learner
        saved = checkpoint.load(tmp_path / "best.pt")["model"]
        assert all(torch.equal(saved[name], tensor) for name, tensor in learner.model.state_dict().items())
        statistics = next(m for m in learner.model.modules() if isinstance(m, _BatchNorm))
        assert statistics.num_batches_tracked == 4  # two updates on five images, then two batches seen again
        average = {name: p.detach().clone() for name, p in learner.model.named_parameters()}
        learner.begin(2)
        moved = [name for name, p in learner.model.named_parameters() if not torch.equal(p, average[name])]
        assert len(moved) > len(average) / 2


def test_a_network_without_batch_norm_is_not_looked_at_again(tmp_path: Path) -> None:
    model = nn.Conv2d(3, 2, 1)
    optimizer = schedule_free.build(schedule_free.Options(lr=0.1, weight_decay=0.0), model)
    learner = Learner(model, nn.Identity(), optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer))

    def never() -> Any:
        raise AssertionError("no batch is needed")

    learner.begin(2)
    learner.settle(never)
    assert not optimizer.param_groups[0]["train_mode"]


@pytest.mark.parametrize("name", ["constant", "plateau", "poly", "cosine", "multistep"])
def test_more_epochs_go_on_only_where_the_course_is_the_same(name: str, tmp_path: Path) -> None:
    short = config(lr_schedule=entry(name), epochs=EPOCHS - 1)
    longer = short.model_copy(update={"epochs": EPOCHS})
    with Trial(short, tmp_path / "short") as trial:
        assert [report.reason for report in trial.run()][-1] == "epoch limit"
    if name not in ("constant", "plateau"):
        with pytest.raises(ValueError, match="another configuration"):
            Trial(longer, tmp_path / "short")
        return
    with Trial(longer, tmp_path / "short", reported=EPOCHS - 1) as trial:
        assert [report.epoch for report in trial.run()] == [EPOCHS]
    at_once = trained(longer, tmp_path / "longer")
    assert_same(checkpoint.CheckpointFolder(tmp_path / "short", 2).load_last(), at_once)
