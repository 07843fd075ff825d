"""Every loss once more, in float64 numpy, pixel by pixel and as the papers write it: what the real ones are held to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segsweep.trainables.components import VOID

Array = NDArray[np.float64]
Options = dict[str, Any]


@dataclass(frozen=True)
class Batch:
    z: Array  # (N, C, H, W) logits
    y: NDArray[np.int64]  # (N, H, W) labels

    @property
    def num_classes(self) -> int:
        return self.z.shape[1]

    @property
    def images(self) -> Iterator[Batch]:
        return (Batch(self.z[n : n + 1], self.y[n : n + 1]) for n in range(len(self.y)) if (self.y[n] != VOID).any())

    def flat(self, options: Options) -> tuple[Array, NDArray[np.int64]]:
        """(P, C) log probabilities and (P,) labels of the labelled pixels."""
        z, y = np.moveaxis(self.z, 1, -1).reshape(-1, self.num_classes), self.y.reshape(-1)
        z, y = z[y != VOID], y[y != VOID]
        if options.get("activation") == "sigmoid":
            return -np.log1p(np.exp(-z)), y
        return z - np.log(np.exp(z).sum(1, keepdims=True)), y


def class_weights(options: Options, num_classes: int) -> Array:
    return np.array(options.get("class_weights", (1.0,) * num_classes))


def cross_entropies(batch: Batch, options: Options) -> tuple[Array, NDArray[np.int64]]:
    log_p, y = batch.flat(options)
    smoothing = options.get("label_smoothing", 0.0)
    if options.get("activation") == "sigmoid":
        t = np.eye(batch.num_classes)[y] * (1 - smoothing) + smoothing / 2
        return -(t * log_p + (1 - t) * np.log(1 - np.exp(log_p))).mean(1), y
    return -(1 - smoothing) * log_p[np.arange(len(y)), y] - smoothing * log_p.mean(1), y


def cross_entropy(batch: Batch, options: Options) -> float:
    losses, y = cross_entropies(batch, options)
    return float(np.average(losses, weights=class_weights(options, batch.num_classes)[y]))


def ohem(batch: Batch, options: Options) -> float:
    losses, y = cross_entropies(batch, {})
    hardest = sorted(range(len(y)), key=lambda i: -losses[i])[: int(np.ceil(options.get("min_kept", 0.2) * len(y)))]
    kept = [i for i in range(len(y)) if np.exp(-losses[i]) < options.get("threshold", 0.7) or i in hardest]
    return float(np.average(losses[kept], weights=class_weights(options, batch.num_classes)[y[kept]]))


def focal(batch: Batch, options: Options) -> float:
    log_p, y = batch.flat(options)
    p, gamma = np.exp(log_p), options.get("gamma", 2.0)
    if options.get("activation") == "sigmoid":
        right = np.where(np.eye(batch.num_classes)[y] == 1, p, 1 - p)
        losses = (-((1 - right) ** gamma) * np.log(right)).mean(1)
    else:
        right = p[np.arange(len(y)), y]
        losses = -((1 - right) ** gamma) * np.log(right)
    return float((class_weights(options, batch.num_classes)[y] * losses).mean())


def region_mean(batch: Batch, options: Options, per_class: Callable[[Array, Array], float]) -> float:
    """per_class: (p, t) of one class over the pixels -> its loss."""
    terms, weights = [], []
    for part in batch.images if options.get("per_image") else [batch]:
        log_p, y = part.flat(options)
        for c in range(batch.num_classes):
            t = (y == c).astype(float)
            if t.any() or options.get("absent") == "count":
                terms.append(per_class(np.exp(log_p[:, c]), t))
                weights.append(class_weights(options, batch.num_classes)[c])
    return float(np.average(terms, weights=weights))


def one_minus(index: float, options: Options) -> float:
    return float(-np.log(index)) if options.get("log") else 1 - index


def dice(batch: Batch, options: Options) -> float:
    s = options.get("smooth", 1.0)
    return region_mean(
        batch, options, lambda p, t: one_minus((2 * (p * t).sum() + s) / (p.sum() + t.sum() + s), options)
    )


def jaccard(batch: Batch, options: Options) -> float:
    s = options.get("smooth", 1.0)
    return region_mean(
        batch, options, lambda p, t: one_minus(((p * t).sum() + s) / ((p + t - p * t).sum() + s), options)
    )


def tversky_index(p: Array, t: Array, options: Options) -> float:
    s, a, b = (options.get(k, d) for k, d in (("smooth", 1.0), ("false_positives", 0.3), ("false_negatives", 0.7)))
    tp, fp, fn = (p * t).sum(), (p * (1 - t)).sum(), ((1 - p) * t).sum()
    return float((tp + s) / (tp + a * fp + b * fn + s))


def tversky(batch: Batch, options: Options) -> float:
    return region_mean(batch, options, lambda p, t: one_minus(tversky_index(p, t, options), options))


def focal_tversky(batch: Batch, options: Options) -> float:
    power = 1 / options.get("gamma", 4 / 3)
    return region_mean(batch, options, lambda p, t: (1 - tversky_index(p, t, options)) ** power)


def generalised_dice(batch: Batch, options: Options) -> float:
    log_p, y = batch.flat(options)
    p, t = np.exp(log_p), np.eye(batch.num_classes)[y]
    power = 1 if options.get("volume") == "simple" else 2
    w = np.array([1 / n**power if n else 0.0 for n in t.sum(0)])
    if options.get("absent") == "count":
        w[w == 0] = w.max()
    return float(1 - 2 * (w * (p * t).sum(0)).sum() / (w * (p + t).sum(0)).sum())


def lovasz_softmax(batch: Batch, options: Options) -> float:
    if options.get("per_image"):
        return float(np.mean([lovasz_softmax(image, {}) for image in batch.images]))
    log_p, y = batch.flat({})
    terms = []
    for c in np.unique(y):
        t = y == c
        errors = np.abs(t - np.exp(log_p[:, c]))
        wrong = np.zeros(len(y), bool)  # the mispredicted pixels so far, the worst first
        term, before = 0.0, 0.0
        for i in np.argsort(-errors):
            wrong[i] = True
            jaccard_loss = 1 - (t & ~wrong).sum() / (t | wrong).sum()
            term, before = term + errors[i] * (jaccard_loss - before), jaccard_loss
        terms.append(term)
    return float(np.mean(terms))


def distance(from_: NDArray[np.bool_], pixel: tuple[int, int]) -> float:
    """From a pixel to the nearest true one; inf if there is none."""
    return min((float(np.hypot(r - pixel[0], c - pixel[1])) for r, c in np.argwhere(from_)), default=np.inf)


def border_distance(mask: NDArray[np.bool_], y: NDArray[np.int64], pixel: tuple[int, int]) -> float:
    """Positive outside of the mask, negative inside, 0 where there is only one side."""
    rest = (y != VOID) & ~mask
    if not mask.any() or not rest.any():
        return 0.0
    return -distance(rest, pixel) if mask[pixel] else distance(mask, pixel)


def shown(batch: Batch, options: Options) -> Iterator[tuple[Array, NDArray[np.int64], int, tuple[int, int]]]:
    """(p of a class in an image, the image's labels, class, labelled pixel), for the classes that the image shows."""
    for image in batch.images:
        y = image.y[0]
        p = np.exp(image.z[0]) / np.exp(image.z[0]).sum(0)
        if options.get("activation") == "sigmoid":
            p = 1 / (1 + np.exp(-image.z[0]))
        for c in (c for c in np.unique(y) if c != VOID):
            yield from ((p[c], y, c, (int(row), int(column))) for row, column in np.argwhere(y != VOID))


def boundary(batch: Batch, options: Options) -> float:
    def term(p: Array, y: NDArray[np.int64], c: int, pixel: tuple[int, int]) -> float:
        d = border_distance(y == c, y, pixel)
        return float(p[pixel] * (d + 1 if d < 0 else d))

    return float(np.mean([term(*each) for each in shown(batch, options)]))


def hausdorff_distance(batch: Batch, options: Options) -> float:
    def term(p: Array, y: NDArray[np.int64], c: int, pixel: tuple[int, int]) -> float:
        alpha = options.get("alpha", 2.0)
        far = abs(border_distance(y == c, y, pixel)) ** alpha
        if not options.get("one_sided"):
            far += abs(border_distance((p > 0.5) & (y != VOID), y, pixel)) ** alpha
        return float((p[pixel] - (y[pixel] == c)) ** 2 * far)

    return float(np.mean([term(*each) for each in shown(batch, options)]))


def border_weights(y: NDArray[np.int64], options: Options) -> Array:
    """(H, W)"""
    w0, sigma = options.get("w0", 10.0), options.get("sigma", 5.0)
    objects = []
    for c in (c for c in np.unique(y) if c not in (VOID, options.get("background"))):
        regions, count = ndimage.label(y == c, np.ones((3, 3)))
        objects += [regions == number for number in range(1, count + 1)]
    weights = np.zeros(y.shape)
    for pixel in np.ndindex(y.shape):
        d1, d2, *_ = sorted(distance(each, (pixel[0], pixel[1])) for each in [*objects, y < 0, y < 0])
        weights[pixel] = w0 * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2))
    return weights


def own(batch: Batch, options: Options) -> float:
    return cross_entropy(batch, {})


def border_weighted_cross_entropy(batch: Batch, options: Options) -> float:
    losses, y = cross_entropies(batch, {})
    border = np.concatenate([border_weights(image, options)[image != VOID] for image in batch.y])
    return float(np.average(losses, weights=class_weights(options, batch.num_classes)[y] + border))


def combo(batch: Batch, options: Options) -> float:
    log_p, y = batch.flat(options)
    p, t = np.exp(log_p), np.eye(batch.num_classes)[y]
    alpha, beta = options.get("alpha", 0.5), options.get("beta", 0.5)
    entropy = -(beta * t * log_p + (1 - beta) * (1 - t) * np.log(1 - p)).mean()
    parts = {key: options[key] for key in options.keys() & {"smooth", "activation"}}
    return float(alpha * entropy + (1 - alpha) * dice(batch, parts))


def sum_(batch: Batch, options: Options) -> float:
    total = 0.0
    for name, term in options.items():
        inner = dict(term) if isinstance(term, dict) else {"weight": term}
        total += inner.pop("weight", 1.0) * REFERENCES[name](batch, inner)
    return total


REFERENCES: dict[str, Callable[[Batch, Options], float]] = {
    function.__name__.rstrip("_"): function
    for function in (
        border_weighted_cross_entropy,
        boundary,
        combo,
        cross_entropy,
        dice,
        focal,
        focal_tversky,
        generalised_dice,
        hausdorff_distance,
        jaccard,
        lovasz_softmax,
        ohem,
        own,
        sum_,
        tversky,
    )
}
