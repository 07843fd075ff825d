"""From images to the class of every pixel: whole or in windows, mirrored and at several scales, at any size.

Memory is bounded by the batch and not by the number of windows or views: a running sum of each is kept, and classes are
upsampled to the size of the label one after the other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segsweep.trainables.config import Evaluation

UPSAMPLED_BYTES = 256 * 2**20  # of logits at original size, at once: bounds memory for 150 classes on large photos
RIM = 1e-3  # least weight of a pixel in a Gaussian window: at a corner of the image nothing else may see it
SIGMA = 1 / 8  # of a Gaussian window, as a share of its side (Isensee et al. 2021)


def predict(model: nn.Module, images: Tensor, evaluation: Evaluation) -> Tensor:
    """(N, C, h, w) float32 logits of images (N, 3, h, w), which are normalised; the model is in eval mode.

    Where several views are averaged, they are the logarithm of the mean probability, of which softmax makes that mean.
    """
    if evaluation.views == 1 and evaluation.scales == (1.0,):
        return _logits(model, images, evaluation)
    views = itertools.product(evaluation.scales, (False, True) if evaluation.flip else (False,))
    total = torch.tensor(-math.inf, device=images.device)
    for scale, flipped in views:
        view = _view(model, images, scale, flipped, evaluation)
        total = torch.logaddexp(total, F.log_softmax(view, dim=1))
    return total - math.log(evaluation.views)


def _view(model: nn.Module, images: Tensor, scale: float, flipped: bool, evaluation: Evaluation) -> Tensor:
    """Logits of one view, turned and resized back to the images' own frame."""
    height, width = images.shape[-2:]
    if scale != 1:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        images = F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
    logits = _logits(model, images.flip(-1) if flipped else images, evaluation)
    logits = logits.flip(-1) if flipped else logits
    return logits if scale == 1 else F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)


def _logits(model: nn.Module, images: Tensor, evaluation: Evaluation) -> Tensor:
    """The network's, or the average of those of the windows; a window larger than the (scaled) image is cut to it."""
    if evaluation.window is None:
        logits: Tensor = model(images)
        return logits.float()
    image = (images.shape[-2], images.shape[-1])
    window = (min(evaluation.window[0], image[0]), min(evaluation.window[1], image[1]))
    weights = _weights(window, evaluation.blend).to(images.device)
    total, weight = torch.zeros((), device=images.device), torch.zeros(image, device=images.device)
    for rows, columns in windows(image, window, evaluation.overlap):
        logits = model(images[..., rows, columns]).float()
        if not total.ndim:
            total = logits.new_zeros(*logits.shape[:2], *image)
        total[..., rows, columns] += logits * weights
        weight[rows, columns] += weights
    return total / weight


def windows(image: tuple[int, int], window: tuple[int, int], overlap: float) -> Iterator[tuple[slice, slice]]:
    """Where the windows lie, row by row: `overlap` of a window apart or closer; the last ones end at the image's edge.

    All sizes are (height, width); the window is not larger than the image.
    """
    yield from itertools.product(*(_along(*sides, overlap) for sides in zip(image, window, strict=True)))


def _along(image: int, window: int, overlap: float) -> list[slice]:
    step = max(1, round(window * (1 - overlap)))
    starts = [*range(0, image - window, step), image - window]
    return [slice(start, start + window) for start in starts]


@lru_cache(maxsize=8)
def _weights(window: tuple[int, int], blend: str) -> Tensor:
    """(h, w) how much each pixel of a window counts."""
    if blend == "mean":
        return torch.ones(window)
    rows, columns = (torch.exp(-((torch.arange(n) - (n - 1) / 2) ** 2) / (2 * (SIGMA * n) ** 2)) for n in window)
    return torch.outer(rows, columns).clamp(min=RIM)


def predicted_classes(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) uint8: the argmax of logits (C, h, w) upsampled bilinearly to `size`; equal logits go to the lower class.

    Samples lie at pixel centres (align_corners=False). On a CPU, OpenCV upsamples; it rounds as torch does where both
    sides grow by a power of 2, and else by a few units in the last place, which decides between equal logits only.
    """
    return _by_opencv(logits, size) if logits.device.type == "cpu" else _by_torch(logits, size)


def _by_opencv(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """One class after the other with a running maximum; ten times as fast as F.interpolate and argmax."""
    shape = size[::-1]  # (width, height), as OpenCV has it
    first, *others = logits.float().numpy(force=True)
    highest = cv2.resize(first, shape, interpolation=cv2.INTER_LINEAR)
    winner, upsampled = np.zeros(size, np.uint8), np.empty(size, np.float32)
    for number, plane in enumerate(others, start=1):
        cv2.resize(plane, shape, dst=upsampled, interpolation=cv2.INTER_LINEAR)
        better = cv2.compare(upsampled, highest, cv2.CMP_GT)  # 255 where it is, else 0
        cv2.max(winner, cv2.min(better, float(number)), dst=winner)  # later classes have higher numbers
        cv2.max(highest, upsampled, dst=highest)
    return torch.from_numpy(winner)


def _by_torch(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """A few classes at a time where all of them at once would take more than UPSAMPLED_BYTES."""
    at_once = max(1, UPSAMPLED_BYTES // (4 * size[0] * size[1]))
    best, winner = _best_of(logits[:at_once], size)
    for first in range(at_once, len(logits), at_once):
        value, candidate = _best_of(logits[first : first + at_once], size)
        better = value > best
        best, winner = torch.where(better, value, best), torch.where(better, candidate + first, winner)
    return winner.byte()


def _best_of(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    upsampled = F.interpolate(logits[None].float(), size=size, mode="bilinear", align_corners=False)[0]
    value, winner = upsampled.max(dim=0)
    return value, winner
