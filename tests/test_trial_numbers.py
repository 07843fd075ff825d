"""The numbers of a trial, recounted from its images and its weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from street_trials import dataset_of, entry, street_config
from torch.nn import functional as F

from segsweep.trainables import catalog
from segsweep.trainables.components import VOID, Task
from segsweep.trainables.config import Entry, Evaluation, TrialConfig
from segsweep.trainables.data.normalization import IMAGENET
from segsweep.trainables.metric_names import METRICS
from segsweep.trainables.scoring import metrics
from segsweep.trainables.scoring.confusions import load_confusions
from segsweep.trainables.training import checkpoint
from segsweep.trainables.training.loop import evaluate
from segsweep.trainables.trial import EpochReport, Trial

CPU = torch.device("cpu")

STREETS = entry("streets", size=[48, 64], train=7, val=3, test=1)
config = partial(
    street_config,
    dataset=STREETS,
    optimizer=entry("adamw", lr=3e-3, weight_decay=0.01),
    augmentation=entry("light"),
    epochs=3,
    image_size=(48, 64),
)


def run(trial_config: TrialConfig, folder: Path, **arguments: int) -> list[EpochReport]:
    with Trial(trial_config, folder, **arguments) as it:
        return list(it.run())


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EpochReport]]:
    """One trial of three epochs, trained without interruption."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, run(config(), folder)


def recount(folder: Path, read_size: tuple[int, int]) -> float:
    """mIoU of best.pt on val, from the samples themselves: no cache, no batch, no metric of ours."""
    best = checkpoint.load(folder / "best.pt")
    trial_config = TrialConfig.model_validate_json(str(best["config"]))
    component = catalog.MODELS.get(trial_config.model.type)
    classes = len(best["classes"])
    options = component.Options.model_validate(trial_config.model.options)
    model = component.build(options, Task(classes, trial_config.image_size, 1))
    model.load_state_dict(best["model"])
    model.eval()
    counts = np.zeros(classes * classes, np.int64)
    for sample in dataset_of(trial_config).splits["val"]:
        pair = sample.read()
        image = cv2.resize(pair.image, read_size[::-1], interpolation=cv2.INTER_AREA)
        pixels = (image / 255.0 - np.array(IMAGENET.mean)) / np.array(IMAGENET.std)
        with torch.no_grad():
            logits = model(torch.tensor(pixels.transpose(2, 0, 1)[None], dtype=torch.float32))
            logits = F.interpolate(logits, pair.label.shape, mode="bilinear", align_corners=False)[0].numpy()
        labelled = pair.label != VOID
        truth, predicted = pair.label[labelled].astype(np.int64), logits.argmax(0)[labelled]
        counts += np.bincount(truth * classes + predicted, minlength=classes * classes)
    matrix = counts.reshape(classes, classes)
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    return float(np.mean(matrix.diagonal()[union > 0] / union[union > 0]))


def test_the_reported_miou_is_what_numpy_counts_from_the_best_checkpoint(
    straight: tuple[Path, list[EpochReport]],
) -> None:
    folder, reports = straight
    best = max(report.metrics["val_miou"] for report in reports)
    assert checkpoint.load(folder / "best.pt")["metrics"]["val_miou"] == best
    assert recount(folder, (48, 64)) == pytest.approx(best, abs=1e-9)


def test_the_matrices_of_the_images_are_those_of_the_best_epoch_and_sum_up_to_its_score(
    straight: tuple[Path, list[EpochReport]],
) -> None:
    folder, reports = straight
    confusions = load_confusions(folder / "confusions.npz")
    best = checkpoint.load(folder / "best.pt")
    assert (confusions.epoch, list(confusions.classes)) == (best["epoch"], best["classes"])
    assert list(confusions.ids) == [sample.id for sample in dataset_of(config()).splits["val"]]
    total = torch.from_numpy(confusions.total())
    found = metrics.scores(total, confusions.classes)
    assert {name: reports[best["epoch"] - 1].metrics[name] for name in found} == pytest.approx(
        found, abs=0, nan_ok=True
    )


def test_flip_windows_and_boundaries_are_scored_as_the_configuration_says(tmp_path: Path) -> None:
    more = Evaluation(method="sliding_window", window=(32, 32), flip=True, scales=(0.5, 1.0), boundary=True)
    plain, other = run(config(epochs=1), tmp_path / "a"), run(config(epochs=1, evaluation=more), tmp_path / "b")
    assert other[0].metrics["train_loss"] == plain[0].metrics["train_loss"]
    assert other[0].metrics["val_miou"] != plain[0].metrics["val_miou"]
    new = set(other[0].metrics) - set(plain[0].metrics)
    assert new == {"val_boundary_iou", "val_boundary_f1"} <= METRICS.keys()
    assert all(0 < other[0].metrics[name] < 1 for name in new)


@pytest.fixture
def mixed_sizes(tmp_path: Path) -> Entry:
    """A folder of six images of different sizes and shapes, with void."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks", "splits"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for index, (height, width) in enumerate([(60, 80), (90, 70), (64, 64), (121, 83), (40, 160), (60, 80)]):
        mask = np.kron(rng.integers(0, 3, (2, 2)), np.ones((height // 2 + 1, width // 2 + 1)))[:height, :width]
        image = np.repeat(mask[:, :, None] * 80, 3, axis=2) + rng.integers(0, 40, (height, width, 3))
        mask[rng.random(mask.shape) < 0.1] = VOID
        cv2.imwrite(str(tmp_path / f"data/images/{index}.png"), image.astype(np.uint8))
        cv2.imwrite(str(tmp_path / f"data/masks/{index}.png"), mask.astype(np.uint8))
    (tmp_path / "data/splits/train.txt").write_text("0\n1\n")
    (tmp_path / "data/splits/val.txt").write_text("2\n3\n4\n5\n")
    return entry("folder", root=str(tmp_path / "data"), classes=["a", "b", "c"], ignore=[VOID])


def test_images_of_mixed_sizes_are_scored_at_their_own_size(mixed_sizes: Entry, tmp_path: Path) -> None:
    mixed = config(dataset=mixed_sizes, epochs=1)
    with Trial(mixed, tmp_path / "trial") as it:
        report = it.step()
        parts = it._experiment
        scored = evaluate(parts.learner.model, parts.learner.loss, parts.val, Evaluation(), batch_size=4, device=CPU)
    labels = [sample.read().label for sample in dataset_of(mixed).splits["val"]]
    assert {label.shape for label in labels} == {(64, 64), (121, 83), (40, 160), (60, 80)}
    labelled = np.concatenate([label[label != VOID] for label in labels])
    assert scored.confusion.sum(1).tolist() == np.bincount(labelled, minlength=3).tolist()
    assert metrics.mean_iou(scored.confusion) == report.metrics["val_miou"]


def test_a_split_without_labelled_pixels_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="no pixel of the split is labelled"):
        metrics.scores(torch.zeros(2, 2, dtype=torch.int64), ["a", "b"])


def test_val_loss_does_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    with Trial(config(), tmp_path) as it:
        parts = it._experiment
        losses = [
            evaluate(parts.learner.model, parts.learner.loss, parts.val, Evaluation(), batch_size=size, device=CPU).loss
            for size in (1, 2, 3)
        ]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
