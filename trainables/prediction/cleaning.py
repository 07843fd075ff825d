"""Small segments, which are mostly noise, given to what surrounds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from segsweep.trainables.components import Uint8


def remove_small_segments(labels: Uint8, fewest: int) -> Uint8:
    """(H, W) with segments of fewer than so many pixels given to the class that most of their border touches.

    A segment is what hangs together by sides or corners and has one class. The smallest go first, so that what lies in
    a small one has gone before it is looked at. A segment that fills the image stays.
    """
    labels = labels.copy()
    while small := _small_segments(labels, fewest):
        for _, box, mask in sorted(small, key=lambda segment: segment[0]):
            rim = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > mask
            labels[box][mask > 0] = np.bincount(labels[box][rim]).argmax()
    return labels


def _small_segments(labels: Uint8, fewest: int) -> list[tuple[int, tuple[slice, slice], Uint8]]:
    """Pixels, where it lies with one pixel around it, and which of those it has (1, else 0)."""
    found = []
    for class_ in np.unique(labels):
        _, numbers, statistics, _ = cv2.connectedComponentsWithStats((labels == class_).astype(np.uint8))
        for number in np.flatnonzero(statistics[1:, cv2.CC_STAT_AREA] < fewest) + 1:
            left, top, width, height, pixels = statistics[number]
            if pixels == labels.size:
                continue
            box = slice(max(0, top - 1), top + height + 1), slice(max(0, left - 1), left + width + 1)
            found.append((int(pixels), box, (numbers[box] == number).astype(np.uint8)))
    return found
