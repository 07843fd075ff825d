"""Images of any size to the class of every pixel, in the very steps in which a trial's validation images are scored."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segsweep.trainables.components import DoesNotFitError
from segsweep.trainables.config import Evaluation, TrialConfig
from segsweep.trainables.data.resize import resize_image
from segsweep.trainables.prediction.trained_model import TrainedModel
from segsweep.trainables.scoring.inference import predict, predicted_classes
from segsweep.trainables.training.batches import normalize
from segsweep.trainables.training.micro_batches import free, halving

if TYPE_CHECKING:
    from segsweep.trainables.components import Uint8

logger = logging.getLogger(__name__)

STRIPE_PIXELS = 64_000_000  # of labels made at once: takes 0.6 GB; larger images are made in stripes of rows
MARGIN = 64  # pixels that either half of an image sees of the other, where memory does not hold both
LEAST_SIDE = 4 * MARGIN  # of an image that is still cut in halves


@dataclass(frozen=True)
class Manner:
    """How images are predicted; by default as the trial was scored."""

    image_size: tuple[int, int] | None  # (height, width) that the network is fed; None: each image as large as it is
    evaluation: Evaluation
    batch_size: int

    @classmethod
    def as_scored(cls, config: TrialConfig) -> Self:
        return cls(config.image_size, config.evaluation, config.batch_size)


class Predictor:
    """Where memory does not hold a batch, this one and all that follow are smaller."""

    def __init__(self, trained: TrainedModel, manner: Manner | None = None) -> None:
        self.trained = trained
        self.manner = manner or Manner.as_scored(trained.config)
        self._at_once = self.manner.batch_size

    def stream(self, images: Iterable[Uint8]) -> Iterator[Uint8]:
        """The labels of each, a batch at a time, in order. See `labels`."""
        remaining = iter(images)
        while batch := list(itertools.islice(remaining, self.manner.batch_size)):
            yield from self.labels(batch)

    def labels(self, images: Sequence[Uint8]) -> list[Uint8]:
        """images: (H, W, 3) RGB, of any sizes. (H, W) of each: 0..C-1.

        Raises DoesNotFitError if memory holds no single image at the size that the network is fed.
        """
        try:
            return [
                _classes(logits, (image.shape[0], image.shape[1]))
                for image, logits in zip(images, self.logits(images), strict=True)
            ]
        except DoesNotFitError as error:
            if self.manner.image_size is not None:
                raise
            why = error
        free()
        return [self._labels_of_one(image, why) for image in images]

    def probabilities(self, image: Uint8) -> Tensor:
        """(C, H, W) float32 on the network's device, at the image's size; of each pixel they sum to 1."""
        (logits,) = self.logits([image])
        with torch.inference_mode():
            upsampled = F.interpolate(logits[None], size=image.shape[:2], mode="bilinear", align_corners=False)
            return upsampled[0].softmax(dim=0)

    def logits(self, images: Sequence[Uint8]) -> list[Tensor]:
        """(C, h, w) float32 of each, at the size that the network is fed; images of one size go together."""
        size = self.manner.image_size
        fed = images if size is None else [resize_image(image, size) for image in images]
        found: list[Tensor] = []
        for shape, group in itertools.groupby(fed, key=lambda image: image.shape):
            found += self._of_one_size(list(group), f"of {shape[0]}x{shape[1]} at once (on {self.trained.device})")
        return found

    def _of_one_size(self, images: list[Uint8], what: str) -> list[Tensor]:
        def attempt(at_once: int) -> list[Tensor]:
            starts = range(0, len(images), at_once)
            return [logits for start in starts for logits in self._batch(images[start : start + at_once])]

        first = min(self._at_once, len(images))
        found, at_once = halving(attempt, first, what)
        if at_once < first:
            self._at_once = at_once
        return found

    @torch.inference_mode()
    def _batch(self, images: Sequence[Uint8]) -> Tensor:
        it = self.trained
        pixels = torch.from_numpy(np.stack(images)).to(it.device).permute(0, 3, 1, 2)
        with it.arithmetic():
            return predict(it.network, normalize(pixels, it.normalization), self.manner.evaluation)

    def _labels_of_one(self, image: Uint8, why: DoesNotFitError) -> Uint8:
        """Of halves, and halves of halves, that see a margin of each other, where memory does not hold the whole."""
        height, width = image.shape[:2]
        try:
            return _classes(self.logits([image])[0], (height, width))
        except DoesNotFitError as error:
            if max(height, width) < LEAST_SIDE:
                raise
            why = error
        logger.warning("%s; going on with halves of it, whose labels may differ a little near the cut", why)
        free()
        axis = 0 if height >= width else 1
        middle = image.shape[axis] // 2
        before, after = (np.take(image, r, axis) for r in _with_margin(middle, image.shape[axis]))
        first, second = self._labels_of_one(before, why), self._labels_of_one(after, why)
        parts = np.take(first, range(middle), axis), np.take(second, range(MARGIN, second.shape[axis]), axis)
        return np.concatenate(parts, axis)


def _with_margin(middle: int, end: int) -> tuple[range, range]:
    return range(middle + MARGIN), range(middle - MARGIN, end)


def _classes(logits: Tensor, size: tuple[int, int]) -> Uint8:
    """The classes at the image's size, in stripes of rows where they are very many: memory is bounded."""
    height, width = size
    if height * width <= STRIPE_PIXELS:
        return np.asarray(predicted_classes(logits, size).numpy(force=True))
    rows = max(1, STRIPE_PIXELS // width)
    stripes = (_stripe(logits, slice(top, min(top + rows, height)), size) for top in range(0, height, rows))
    return np.concatenate(list(stripes))


def _stripe(logits: Tensor, rows: slice, size: tuple[int, int]) -> Uint8:
    """The same rows as of the whole, but for rounding: first they are interpolated, then what is in them."""
    places = (torch.arange(rows.start, rows.stop, device=logits.device) + 0.5) * logits.shape[1] / size[0] - 0.5
    places = places.clamp(0, logits.shape[1] - 1)
    above = places.floor().long()
    below = (above + 1).clamp(max=logits.shape[1] - 1)
    stripe = torch.lerp(logits[:, above], logits[:, below], (places - above)[:, None])
    return np.asarray(predicted_classes(stripe, (rows.stop - rows.start, size[1])).numpy(force=True))
