"""Every architecture learns four photos by heart, as well as labels survive the stride of its logits.

What works on noise and on halves may still be wrong: a skip that is lost, maps that are shifted against the image,
parts that stay as they are, statistics that differ between training and scoring. None of these gets there.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from overfitting import AIMS, Aim, kept_at, overfit, photos

from segsweep.trainables.catalog import MODELS
from segsweep.trainables.components import VOID
from segsweep.trainables.training.batches import Batch


@pytest.fixture(scope="module")
def batch(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    if not (data_root / "camvid").is_dir():
        pytest.skip(f"no {data_root / 'camvid'}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGSWEEP_DATA", str(data_root))
        return photos(tmp_path_factory.mktemp("cache"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", MODELS.names())
def test_model_learns_photos_by_heart(name: str, batch: Batch) -> None:
    aim, found = AIMS.get(name, Aim()), overfit(name, batch)
    assert found.miou >= aim.share * found.kept, f"{found} {aim.reason}"


def test_a_lower_aim_has_a_reason_and_belongs_to_a_model() -> None:
    assert AIMS.keys() <= {*MODELS.names()}
    assert all(aim.reason for aim in AIMS.values() if aim.share < Aim().share)


def test_labels_keep_whole_cells_and_lose_what_is_finer() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, :, 4:] = 1
    labels[:, 0] = VOID
    assert kept_at(1, labels) == kept_at(4, labels) == 1
    labels[0, 6, 6] = 2  # a single pixel: a sixteenth of its cell
    assert kept_at(1, labels) == 1
    assert kept_at(4, labels) == pytest.approx((1 + 27 / 28 + 0) / 3)
