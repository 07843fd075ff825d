"""Batches of normalised images from the cache. An epoch's batches follow from (seed, epoch) alone.

So a resumed trial needs no stored data order, and two trials of one seed see the same images in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segsweep.trainables.components import Augmentation, Pair

if TYPE_CHECKING:
    from segsweep.trainables.cache import CachedSplit

# of ImageNet's RGB images in [0, 1]: what every pretrained encoder in SMP and transformers was trained with
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Batch(NamedTuple):
    images: Tensor  # (N, 3, h, w) float32, normalised
    labels: Tensor  # (N, h, w) int64, 0..C-1 or VOID
    indices: tuple[int, ...]  # of the N images in their split


def train_batches(
    split: CachedSplit, augment: Augmentation, batch_size: int, seed: int, epoch: int, device: torch.device
) -> Iterator[Batch]:
    """One epoch: every image once, shuffled and augmented; `batches_per_epoch` batches."""
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(split))
    augmentation_seeds = rng.integers(2**31, size=len(split))
    for batch in range(batches_per_epoch(len(split), batch_size)):
        indices = order[batch * batch_size : (batch + 1) * batch_size].tolist()
        pairs = [augment(Pair(split.images[i], split.labels[i]), int(augmentation_seeds[i])) for i in indices]
        yield to_batch([pair.image for pair in pairs], [pair.label for pair in pairs], indices, device)


def batches_per_epoch(images: int, batch_size: int) -> int:
    """Optimizer updates in one epoch.

    A last batch of one is dropped unless it is the only one or batches are meant to be of one: BatchNorm over a single
    image is noise, and several architectures refuse it.
    """
    full, rest = divmod(images, batch_size)
    return full + (rest >= 2 or (rest == 1 and full == 0))


def eval_batches(split: CachedSplit, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """Every image once, in order, as it is in the cache."""
    for start in range(0, len(split), batch_size):
        indices = range(start, min(start + batch_size, len(split)))
        yield to_batch([split.images[i] for i in indices], [split.labels[i] for i in indices], indices, device)


def to_batch(
    images: Sequence[npt.NDArray[np.uint8]],
    labels: Sequence[npt.NDArray[np.uint8]],
    indices: Sequence[int],
    device: torch.device,
) -> Batch:
    """images: N of (h, w, 3) RGB; labels: N of (h, w). They travel to the device as bytes, a quarter of the size."""
    pixels = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2)
    return Batch(normalize(pixels), torch.from_numpy(np.stack(labels)).to(device).long(), tuple(indices))


def normalize(pixels: Tensor) -> Tensor:
    """(N, 3, h, w) uint8 RGB -> float32 with ImageNet's mean and standard deviation taken out."""
    mean = torch.tensor(IMAGENET_MEAN, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=pixels.device).view(3, 1, 1)
    return (pixels.contiguous().float() / 255 - mean) / std
