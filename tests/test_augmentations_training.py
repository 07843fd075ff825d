"""Trials with every kind of augmentation: they learn, and the number of workers changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scripted import plan_of

from segsweep.trainables.cache.cached_split import CachedSplit, open_split
from segsweep.trainables.catalog import AUGMENTATIONS
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.datasets import streets
from segsweep.trainables.training.batches import Batch, train_batches
from segsweep.trainables.training.epochs import draws
from segsweep.trainables.trial import Trial

SIZE = (48, 64)
SPEC = """\
datasets: [{type: streets, size: [48, 64], train: 8, val: 4, test: 4}]
models: [{architecture: linknet, encoder: tu-mobilenetv3_small_050}]
optimizers: [{type: adamw, lr: 3e-3, weight_decay: 0.01}]
augmentations:
  - {type: strong, cutmix: 0.5}
  - type: albumentations
    name: custom
    transforms:
      - HorizontalFlip
      - {Affine: {rotate: {choice: [[-10, 10], [-30, 30]]}, scale: [0.8, 1.2], p: 0.8}}
      - {OneOf: [{GaussianBlur: {blur_limit: [3, 5]}}, CLAHE]}
    cat_max_ratio: 0.75
    cutmix: 0.5
trials: 1
min_finished: 1
epochs: 4
batch_size: 4
image_size: [48, 64]
scheduler: fifo
"""


def configs() -> dict[str, TrialConfig]:
    """The first trial of every combination, by its augmentation."""
    plan = plan_of(SPEC)
    found = {}
    for combination in plan.combinations:
        values = {path: domain.samples()[0] for path, domain in combination.domains.items()}
        config = combination.config("001", values)
        found[config.augmentation.name] = config
    return found


@pytest.mark.parametrize("name", ["strong", "custom"])
def test_a_trial_learns(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    with Trial(configs()[name], tmp_path / "trial") as trial:
        losses = [report.metrics["train_loss"] for report in trial.run()]
    assert len(losses) == 4
    assert losses[-1] < losses[0]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> CachedSplit:
    data = streets.build(streets.Options(train=11, size=SIZE))
    return open_split(data, "streets", "train", SIZE, tmp_path_factory.mktemp("cache"))


def epoch(split: CachedSplit, config: TrialConfig, number: int, threads: int) -> list[Batch]:
    component = AUGMENTATIONS.get(config.augmentation.type)
    augment = component.build(component.Options.model_validate(config.augmentation.options), SIZE)
    return list(train_batches(split, augment, draws(config, len(split), number), torch.device("cpu"), threads))


@pytest.mark.parametrize("name", ["strong", "custom"])
def test_the_number_of_workers_changes_nothing(name: str, split: CachedSplit) -> None:
    config = configs()[name]
    first = epoch(split, config, 2, 0)
    for threads in (1, 3):
        again = epoch(split, config, 2, threads)
        assert all(torch.equal(a.images, b.images) for a, b in zip(first, again, strict=True))
        assert all(torch.equal(a.labels, b.labels) for a, b in zip(first, again, strict=True))
    changes = {"epoch": epoch(split, config, 3, 0), "seed": epoch(split, config.model_copy(update={"seed": 9}), 2, 0)}
    for what, other in changes.items():
        assert not torch.equal(first[0].images, other[0].images), what
