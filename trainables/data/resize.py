"""Bringing images and labels to another size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segsweep.trainables.components import Pair

if TYPE_CHECKING:
    from segsweep.trainables.components import Uint8


def resize_pair(pair: Pair, size: tuple[int, int]) -> Pair:
    """Image and label at (height, width) = `size`, whatever their aspect ratio was."""
    return Pair(resize_image(pair.image, size), resize_label(pair.label, size))


def resize_image(image: Uint8, size: tuple[int, int]) -> Uint8:
    """(h, w, 3): averaged where it shrinks, which keeps thin things visible; bilinear where it grows."""
    import cv2
    import numpy as np

    if image.shape[:2] == size:
        return image
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    return np.asarray(
        cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8
    )


def resize_label(label: Uint8, size: tuple[int, int]) -> Uint8:
    """(h, w): the label nearest to each new pixel's centre.

    cv2.INTER_NEAREST takes the one at its corner instead, which shifts labels by up to half a pixel against the image.
    """
    import cv2
    import numpy as np

    if label.shape == size:
        return label
    return np.asarray(cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
