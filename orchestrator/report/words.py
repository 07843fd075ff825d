"""Numbers and names as readers of a report know them."""

from __future__ import annotations

from segsweep.trainables.metric_names import TEST, VAL, is_class_iou, metric_named

NAMES = {
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "fwiou": "frequency-weighted IoU",
    "dice": "Dice",
    "boundary_iou": "boundary IoU",
    "boundary_f1": "boundary F1",
}
SPLITS = {VAL: "validation", TEST: "test"}


def metric_words(metric: str) -> str:
    """ "mIoU (validation)" of val_miou."""
    for prefix, split in SPLITS.items():
        if metric.startswith(prefix):
            bare = metric.removeprefix(prefix)
            name = f"IoU of {bare.partition('/')[2]}" if is_class_iou(metric) else NAMES.get(bare, bare)
            return f"{name.replace('_', ' ')} ({split})"
    return metric.replace("_", " ")


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def difference(size: float, metric: str) -> str:
    """ "2.1 points" of a share, else the plain number."""
    is_share = metric_named(metric.replace(TEST, VAL, 1)).judges and not metric.endswith("loss")
    return f"{100 * abs(size):.1f} points" if is_share else f"{abs(size):.4g}"


def listed(names: list[str], shown: int = 8) -> str:
    """ "a, b and c", "a, b and 12 more"."""
    if len(names) > shown:
        return f"{', '.join(names[:shown])} and {len(names) - shown} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
