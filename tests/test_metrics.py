"""The one metric that everybody can check: hand-computed cases, and torchmetrics where it is right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MulticlassPrecision,
    MulticlassRecall,
)

from segsweep.trainables.components import VOID
from segsweep.trainables.metric_names import METRICS, class_iou, is_class_iou, metric_named, over_epochs
from segsweep.trainables.scoring import metrics
from segsweep.trainables.scoring.metrics import ConfusionMatrix, confusion_matrix

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
            "val_precision": (3 / 3 + 2 / 3 + 0) / 3,
            "val_recall": (3 / 4 + 2 / 4 + 0) / 3,  # pole is never true: 0, as in its IoU
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


def test_what_epochs_cost_counts_at_the_peak_or_on_average_and_scores_at_the_best_epoch() -> None:
    values = [1.0, 4.0, None, 1.0]
    assert over_epochs("peak_memory_gib", values, 4) == 4.0
    assert over_epochs("epoch_s", values, 4) == 2.0
    assert over_epochs("val_dice", values, 2) == 4.0
    assert over_epochs("val_dice", values, None) is None
    assert over_epochs("epoch_s", [None], None) is None


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
            "val_precision": 1,
            "val_recall": 6 / 10,
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
    "score",
    [
        metrics.mean_iou,
        metrics.pixel_accuracy,
        metrics.mean_accuracy,
        metrics.fw_iou,
        metrics.mean_dice,
        metrics.mean_precision,
        metrics.mean_recall,
    ],
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


def adversarial_split(num_classes: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Images of several sizes, one all void; class 0 is nowhere, 1 is never predicted, 3 is never true."""
    generator = torch.Generator().manual_seed(seed)
    split = []
    for shape in ((7, 9), (1, 13), (16, 4), (5, 5)):
        prediction = torch.randint(num_classes, shape, generator=generator)
        label = torch.randint(num_classes, shape, generator=generator).byte()
        label[torch.rand(shape, generator=generator) < 0.2] = VOID
        prediction[prediction <= 1] = 2
        label[label == 0], label[label == 3] = 2, 4
        split.append((prediction, label))
    split[1][1].fill_(VOID)
    return split


def summed(split: list[tuple[Tensor, Tensor]], num_classes: int) -> Tensor:
    metric = ConfusionMatrix(num_classes)
    for prediction, label in split:
        metric.update(prediction, label)
    return metric.compute()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (metrics.mean_iou, MulticlassJaccardIndex),
        (metrics.mean_precision, MulticlassPrecision),
        (metrics.mean_recall, MulticlassRecall),
        (metrics.mean_dice, MulticlassF1Score),
        (metrics.pixel_accuracy, lambda **given: MulticlassAccuracy(**given, average="micro")),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_scores_agree_with_torchmetrics_on_adversarial_maps(ours: Any, theirs: Any, seed: int) -> None:
    split = adversarial_split(8, seed)
    metric = theirs(num_classes=8, ignore_index=VOID)
    counts = MulticlassConfusionMatrix(num_classes=8, ignore_index=VOID)
    for prediction, label in split:
        metric.update(prediction[None], label.long()[None])
        counts.update(prediction[None], label.long()[None])
    matrix = summed(split, 8)
    assert torch.equal(matrix, counts.compute())
    assert ours(matrix) == pytest.approx(float(metric.compute()), abs=1e-6)  # theirs divides in float32


def voc_by_definition(split: list[tuple[Tensor, Tensor]], num_classes: int) -> list[float]:
    """IoU of each class that occurs: right / (in truth + in prediction - right) over all pixels of all images.

    Source: VOCevalseg.m of the VOC 2012 development kit; border pixels (255) are in no count.
    """
    right, true, predicted = ([0] * num_classes for _ in range(3))
    for prediction, label in split:
        for p, t in zip(prediction.flatten().tolist(), label.flatten().tolist(), strict=True):
            if t != 255:
                true[t] += 1
                predicted[p] += 1
                right[t] += t == p
    unions = [t + p - r for t, p, r in zip(true, predicted, right, strict=True)]
    return [r / union for r, union in zip(right, unions, strict=True) if union]


@pytest.mark.parametrize("seed", range(5))
def test_voc_scores_agree_with_their_definition(seed: int) -> None:
    split = adversarial_split(21, seed)
    ious = voc_by_definition(split, 21)
    matrix = summed(split, 21)
    assert metrics.classes_scored(matrix) == len(ious) == 20
    assert metrics.mean_iou(matrix) == pytest.approx(sum(ious) / len(ious), abs=1e-12)


def ade_by_definition(split: list[tuple[Tensor, Tensor]], num_classes: int) -> tuple[float, float]:
    """Mean IoU and pixel accuracy with the benchmark's own ids: 0 is unlabelled, classes are 1 and up.

    A prediction on unlabelled ground truth becomes 0 and is in no count; intersections and unions are summed over the
    images before they are divided. Source: intersectionAndUnion.m and pixelAccuracy.m of sceneparsing. Classes that
    occur nowhere are skipped (mmsegmentation's nanmean); the original counts them as 0, which its 2,000 images hide.
    """
    intersections, areas_predicted, areas_true = ([0] * (num_classes + 1) for _ in range(3))
    for prediction, label in split:
        for p, t in zip((prediction + 1).flatten().tolist(), label.flatten().tolist(), strict=True):
            id_true = 0 if t == VOID else t + 1
            id_predicted = p * (id_true > 0)
            areas_true[id_true] += 1
            areas_predicted[id_predicted] += 1
            intersections[id_true] += id_true == id_predicted
    columns = list(zip(intersections, areas_predicted, areas_true, strict=True))[1:]
    ious = [i / (p + t - i) for i, p, t in columns if p + t]
    return sum(ious) / len(ious), sum(intersections[1:]) / sum(areas_true[1:])


@pytest.mark.parametrize("seed", range(5))
def test_ade20k_scores_agree_with_their_definition(seed: int) -> None:
    split = adversarial_split(150, seed)
    matrix = summed(split, 150)
    expected = ade_by_definition(split, 150)
    assert (metrics.mean_iou(matrix), metrics.pixel_accuracy(matrix)) == pytest.approx(expected, abs=1e-12)


def test_an_image_without_labels_changes_no_score() -> None:
    split = adversarial_split(6, seed=0)
    without = [pair for i, pair in enumerate(split) if i != 1]
    assert torch.equal(summed(split, 6), summed(without, 6))


def test_a_call_returns_the_matrix_of_that_image_and_adds_it() -> None:
    split = adversarial_split(6, seed=1)
    metric = ConfusionMatrix(6)
    images = [metric(prediction, label) for prediction, label in split]
    assert all(torch.equal(m, confusion_matrix(p, t, 6)) for m, (p, t) in zip(images, split, strict=True))
    assert torch.equal(sum(images[1:], images[0]), metric.compute())
    assert not images[1].any()
