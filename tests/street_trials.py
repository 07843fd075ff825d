"""A small network trained for an epoch on a few drawn streets: what comes after training needs a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
from exporting import entry

from segsweep.trainables.config import TrialConfig
from segsweep.trainables.trial import Trial

STREETS = {"size": [60, 88], "train": 8, "val": 5, "test": 1}


def train(folder: Path, **changes: object) -> None:
    """Into `folder`, with its cache; changes: of the configuration."""
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGSWEEP_CACHE", str(folder / "cache"))
        with Trial(TrialConfig.model_validate(plain | changes), folder) as trial:
            list(trial.run())
