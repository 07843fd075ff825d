"""The one metric that everybody can check: hand-computed cases, and torchmetrics where it is right."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from segsweep.trainables import metrics
from segsweep.trainables.components import VOID
from segsweep.trainables.metric_names import METRICS, class_iou, is_class_iou, metric_named
from segsweep.trainables.metrics import ConfusionMatrix, confusion_matrix

# truth 0: 3 right, 1 taken for 1; truth 1: 2 right, 2 taken for 2; class 2 never true; class 3 nowhere
BY_HAND = torch.tensor([[3, 1, 0, 0], [0, 2, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def random_maps(num_classes: int, seed: int, shape: tuple[int, ...] = (4, 33, 47)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.randint(num_classes, shape, generator=generator)
    label = torch.randint(num_classes, shape, generator=generator)
    label[torch.rand(shape, generator=generator) < 0.3] = VOID
    return prediction, label


def test_rows_are_truth_and_columns_are_prediction() -> None:
    prediction, label = torch.tensor([[0, 1], [1, 1]]), torch.tensor([[0, 0], [0, 1]])
    assert confusion_matrix(prediction, label, 2).tolist() == [[1, 2], [0, 1]]


def test_void_pixels_never_count() -> None:
    prediction, label = torch.tensor([0, 1, 2, 2]), torch.tensor([0, VOID, VOID, 2], dtype=torch.uint8)
    assert confusion_matrix(prediction, label, 3).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_every_pixel_is_counted_where_python_counts_it() -> None:
    prediction, label = random_maps(5, seed=1, shape=(2, 6, 7))
    expected = np.zeros((5, 5), np.int64)
    for p, t in zip(prediction.flatten().tolist(), label.flatten().tolist(), strict=True):
        if t != VOID:
            expected[t, p] += 1
    assert np.array_equal(confusion_matrix(prediction, label, 5).numpy(), expected)


def test_updates_sum_over_images_of_any_shape() -> None:
    prediction, label = random_maps(3, seed=2)
    metric = ConfusionMatrix(3)
    metric.update(prediction[0], label[0])
    metric.update(prediction[1:], label[1:])
    assert torch.equal(metric.compute(), confusion_matrix(prediction, label, 3))
    assert metric.compute().dtype == torch.int64
    metric.reset()
    assert not metric.confusion.any()


def test_counts_of_a_large_split_stay_exact() -> None:
    metric = ConfusionMatrix(2)
    metric.confusion += 2**53  # a float64 count would lose the next pixel
    metric.update(torch.tensor([1]), torch.tensor([0]))
    assert metric.compute().tolist() == [[2**53, 2**53 + 1], [2**53, 2**53]]


@pytest.mark.parametrize(("label", "wrong"), [([0, 3], "label 3"), ([-1, 0], "label -1"), ([254, 0], "label 254")])
def test_a_label_that_is_neither_class_nor_void_raises(label: list[int], wrong: str) -> None:
    with pytest.raises(ValueError, match=rf"{wrong} is no class: allowed are 0\.\.2"):
        confusion_matrix(torch.tensor([0, 1]), torch.tensor(label), 3)


def test_a_prediction_that_is_no_class_raises() -> None:
    with pytest.raises(ValueError, match="prediction 3 is no class"):
        confusion_matrix(torch.tensor([3]), torch.tensor([0]), 3)


def test_different_sizes_raise() -> None:
    with pytest.raises(ValueError, match="sizes must agree"):
        confusion_matrix(torch.zeros(2, 3), torch.zeros(3, 2), 2)


def test_scores_by_hand() -> None:
    found = metrics.scores(BY_HAND, ["road", "car", "pole", "sky"])
    assert math.isnan(found.pop("val_iou/sky"))
    assert found == pytest.approx(
        {
            "val_miou": (3 / 4 + 2 / 5 + 0) / 3,  # pole: predicted, never true: 0 and counts; sky: nowhere, skipped
            "val_pixel_accuracy": 5 / 8,
            "val_mean_accuracy": (3 / 4 + 2 / 4) / 2,
            "val_fwiou": 0.5 * 3 / 4 + 0.5 * 2 / 5,
            "val_dice": (6 / 7 + 4 / 7 + 0) / 3,
            "val_classes": 3,
            "val_iou/road": 3 / 4,
            "val_iou/car": 2 / 5,
            "val_iou/pole": 0,
        },
        abs=1e-12,
    )


def test_every_score_is_a_metric_that_is_known_by_name() -> None:
    found = metrics.scores(BY_HAND, ["road", "car", "pole", "sky"])
    assert [name for name in found if name not in METRICS and not is_class_iou(name)] == []


@pytest.mark.parametrize("class_name", ["gloss", "cars_s", "a_gib", "gmacs", ""])
def test_the_iou_of_a_class_is_better_high_whatever_the_class_is_called(class_name: str) -> None:
    assert metric_named(class_iou(class_name)).better == "max"


def test_losses_times_and_sizes_are_better_low() -> None:
    small = ("val_loss", "train_loss", "epoch_s", "gpu_s", "peak_memory_gib", "params_m", "gmacs")
    assert {metric_named(name).better for name in small} == {"min"}


def test_the_prefix_names_the_split() -> None:
    assert "test_iou/a" in metrics.scores(torch.eye(2, dtype=torch.int64), ["a", "b"], prefix="test_")


def test_where_some_classes_are_scored_the_truth_of_others_is_void_and_their_prediction_a_miss() -> None:
    # rows are truth: 0 is scored, 1 is scored and never true, 2 is not scored
    confusion = torch.tensor([[6, 1, 3], [0, 0, 0], [50, 7, 90]])
    found = metrics.scores(confusion, ["direct", "alternative", "background"], scored=(0, 1))
    assert math.isnan(found.pop("val_iou/alternative"))
    assert math.isnan(found.pop("val_iou/background"))
    assert found == pytest.approx(
        {
            "val_miou": 6 / 10,  # 50 false alarms on background cost nothing; 1 + 3 misses do
            "val_miou_all_classes": (6 / 60 + 0 / 8 + 90 / 150) / 3,
            "val_pixel_accuracy": 6 / 10,
            "val_mean_accuracy": 6 / 10,
            "val_fwiou": 6 / 10,
            "val_dice": 12 / 16,
            "val_classes": 1,
            "val_iou/direct": 6 / 10,
        },
        abs=1e-12,
    )
    assert all(name in METRICS or is_class_iou(name) for name in found)


def test_a_split_without_a_scored_class_has_no_score() -> None:
    with pytest.raises(ValueError, match="nothing to score"):
        metrics.scores(torch.tensor([[0, 0, 0], [0, 0, 0], [1, 2, 3]]), ["a", "b", "c"], scored=(0, 1))


def test_class_names_must_be_as_many_as_classes() -> None:
    with pytest.raises(ValueError, match="zip"):
        metrics.scores(BY_HAND, ["road"])


@pytest.mark.parametrize(
    "score", [metrics.mean_iou, metrics.pixel_accuracy, metrics.mean_accuracy, metrics.fw_iou, metrics.mean_dice]
)
def test_an_all_void_split_raises(score: object) -> None:
    assert callable(score)
    with pytest.raises(ValueError, match="no pixel of the split is labelled"):
        score(torch.zeros(3, 3, dtype=torch.int64))


@pytest.mark.parametrize("seed", range(3))
def test_mean_iou_agrees_with_torchmetrics_over_a_split_with_void_and_absent_classes(seed: int) -> None:
    prediction, label = random_maps(6, seed)
    label[label == 4] = 3  # class 4 is predicted but never true
    prediction[prediction == 5], label[label == 5] = 0, 0  # class 5 is nowhere
    theirs = MulticlassJaccardIndex(num_classes=6, ignore_index=VOID).set_dtype(torch.float64)
    ours = ConfusionMatrix(6)
    for p, t in zip(prediction, label, strict=True):
        theirs.update(p[None], t[None])
        ours.update(p, t)
    matrix = ours.compute()
    assert torch.equal(matrix, theirs.confmat)  # counts: exactly
    assert metrics.classes_scored(matrix) == 5
    assert metrics.mean_iou(matrix) == pytest.approx(float(theirs.compute()), abs=1e-6)  # theirs divides in float32


def test_scores_agree_with_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, jaccard_score  # type: ignore[import-untyped]

    prediction, label = random_maps(5, seed=3)
    matrix = confusion_matrix(prediction, label, 5)
    truth, predicted = label[label != VOID].numpy(), prediction[label != VOID].numpy()
    assert metrics.mean_iou(matrix) == pytest.approx(jaccard_score(truth, predicted, average="macro"), abs=1e-9)
    assert metrics.fw_iou(matrix) == pytest.approx(jaccard_score(truth, predicted, average="weighted"), abs=1e-9)
    assert metrics.mean_dice(matrix) == pytest.approx(f1_score(truth, predicted, average="macro"), abs=1e-9)
    assert metrics.pixel_accuracy(matrix) == pytest.approx(accuracy_score(truth, predicted), abs=1e-9)
    assert metrics.mean_accuracy(matrix) == pytest.approx(balanced_accuracy_score(truth, predicted), abs=1e-9)
