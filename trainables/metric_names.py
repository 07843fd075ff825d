"""What trials report, by the name that YAML, journal, MLflow and leaderboard use. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal, NamedTuple

Mode = Literal["min", "max"]

VAL, TEST = "val_", "test_"  # how the scores of these splits begin


class MetricName(NamedTuple):
    better: Mode = "max"
    unit: str = ""  # "": a share in [0, 1], a count or a loss
    judges: bool = False  # a sweep may have it as its objective
    costs: bool = False  # a sweep may have it as a further objective, or bound it by a constraint
    per_trial: bool = False  # one value a trial, not one an epoch
    over_epochs: Literal["best", "max", "mean"] = "best"  # which of its epochs' values is the trial's


METRICS: Mapping[str, MetricName] = {
    "val_miou": MetricName(judges=True),
    "val_pixel_accuracy": MetricName(judges=True),
    "val_mean_accuracy": MetricName(judges=True),
    "val_fwiou": MetricName(judges=True),
    "val_dice": MetricName(judges=True),
    "val_precision": MetricName(judges=True),
    "val_recall": MetricName(judges=True),
    "val_boundary_iou": MetricName(judges=True),  # with `evaluation: {boundary: true}`
    "val_boundary_f1": MetricName(judges=True),  # likewise
    "val_loss": MetricName("min", judges=True),
    "train_loss": MetricName("min", judges=True),
    "val_miou_all_classes": MetricName(),  # where the dataset's own score, val_miou, leaves classes out
    "val_classes": MetricName(),  # how many classes the means are taken over
    "lr": MetricName(),
    "iterations": MetricName("min"),  # optimizer updates since the trial began
    "images_per_second": MetricName(unit="images/s"),
    "epoch_s": MetricName("min", "s", costs=True, over_epochs="mean"),
    "peak_memory_gib": MetricName("min", "GiB", costs=True, over_epochs="max"),
    "params_m": MetricName("min", "millions", costs=True, per_trial=True),
    "gmacs": MetricName("min", "GMAC an image", costs=True, per_trial=True),
    "latency_ms": MetricName("min", "ms an image", costs=True, per_trial=True),  # batch 1, in the trial's own worker
    "gpu_s": MetricName("min", "s", per_trial=True),
    "cpu_s": MetricName("min", "s", per_trial=True),
    "setup_s": MetricName("min", "s", per_trial=True),
    "best_epoch": MetricName("min", per_trial=True),
    "micro_batch": MetricName(unit="images", per_trial=True),  # trained on at once: batch_size, if memory holds it
    "train_images": MetricName(per_trial=True),
    "val_images": MetricName(per_trial=True),
    "test_images": MetricName(per_trial=True),  # of trials that score the test split
    "gpus": MetricName("min", per_trial=True),
    "cpus": MetricName("min", per_trial=True),
    "processes": MetricName("min", per_trial=True),
}
OBJECTIVES = tuple(name for name, metric in METRICS.items() if metric.judges)  # and every val_iou/CLASS
COSTS = tuple(name for name, metric in METRICS.items() if metric.costs)


def metric_named(name: str) -> MetricName:
    """What is known of a metric. Of one that a plug-in reports: nothing, so that more is better."""
    if name.startswith(TEST):  # measured once, at the end, so any way over the epochs finds it
        return metric_named(VAL + name.removeprefix(TEST))._replace(judges=False, over_epochs="max")
    return MetricName(judges=True) if is_class_iou(name) else METRICS.get(name, MetricName())


def over_epochs(name: str, values: Sequence[float | None], best_epoch: int | None) -> float | None:
    """A trial's value of a metric that every epoch has; None where there is none yet.

    values: [epoch - 1], None where it was not measured or not a number; best_epoch: by the objective, from 1.
    """
    how = metric_named(name).over_epochs
    if how == "best":
        return None if best_epoch is None else values[best_epoch - 1]
    known = [value for value in values if value is not None]
    if not known:
        return None
    return max(known) if how == "max" else fmean(known)


def class_iou(class_name: str, prefix: str = "val_") -> str:
    """The name of one class's IoU."""
    return f"{prefix}iou/{class_name}"


def is_class_iou(name: str) -> bool:
    """True for val_iou/CLASS, whatever the class is called."""
    return name.startswith(class_iou(""))
