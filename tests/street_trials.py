"""Configurations of a small network that is trained on a few drawn streets, and its training.

What comes after training needs a checkpoint.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from segsweep.trainables.catalog import DATASETS
from segsweep.trainables.components import ComponentOptions, Dataset
from segsweep.trainables.config import Entry, TrialConfig
from segsweep.trainables.trial import Trial

STREETS = {"size": [60, 88], "train": 8, "val": 5, "test": 1}


def entry(type_: str, **options: object) -> Entry:
    return Entry.model_validate({"type": type_, "name": type_, "options": options})


def street_config(**changes: object) -> TrialConfig:
    """Of one epoch, plain in everything that `changes` does not name."""
    plain: dict[str, object] = {
        "trial_id": "001",
        "dataset": entry("streets", **STREETS),
        "model": entry("linknet", encoder="tu-mobilenetv3_small_050"),
        "loss": entry("cross_entropy"),
        "optimizer": entry("adamw", lr=5e-3, weight_decay=0.01),
        "lr_schedule": entry("poly"),
        "augmentation": entry("none"),
        "epochs": 1,
        "batch_size": 4,
        "image_size": (48, 72),
        "seed": 1,
    }
    return TrialConfig.model_validate(plain | changes)


def options_of(dataset: Entry) -> ComponentOptions:
    return DATASETS.get(dataset.type).Options.model_validate(dataset.options)


def dataset_of(config: TrialConfig) -> Dataset:
    return DATASETS.get(config.dataset.type).build(options_of(config.dataset))


def train(folder: Path, **changes: object) -> None:
    """Into `folder`, with its cache; changes: of the configuration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGSWEEP_CACHE", str(folder / "cache"))
        with Trial(street_config(**changes), folder) as trial:
            list(trial.run())
