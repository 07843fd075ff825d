"""Which images show the same picture: pixel for pixel, saved or scaled anew, or neighbouring frames of a film.

Each image is reduced to two small fingerprints, so the images of a whole dataset compare in memory. Two pictures are
alike as far as the details of their 24x24 grey thumbnails correlate, each detail measured against its surroundings:
layout alone, such as the dark rim of all fundus photos, makes nothing alike. Turned, mirrored and cropped copies are
not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from segsweep.trainables.components import Uint8

    Details = npt.NDArray[np.int8]
    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]
    Pixels = npt.NDArray[np.uint64]
    Numbers = npt.NDArray[np.int8]

SAME = 0.996  # one picture: half its size and JPEG of quality 60 leave .997; so do frames of a camera that stands still
NEAR = 0.97  # one scene: photos taken twice reach .973; retinas of different people, very alike, stay below .966
SIDE = 24
SURROUNDINGS = 1.5  # standard deviation, in pixels of the thumbnail
FAINTEST = 4.0  # grey levels: what contrast is divided by at least, or JPEG noise in plain areas would count as detail
DIRECTIONS = 32
SAMPLED = 2048  # images from which the directions are found
BLOCK = 2048
CROWD = 4 * BLOCK  # as many pairs within reach, of a pair of blocks, are not all compared in full
REACH = (2 - 2 * NEAR) ** 0.5 + 1e-3  # places are rounded


class Fingerprint(NamedTuple):
    pixels: int  # 64 bits; the same for the same pixels
    details: Details  # (576,); all 0 for an image without detail


class Match(NamedTuple):
    """An image that is like an earlier one, by their numbers."""

    image: int
    earlier: int
    likeness: float  # NEAR..1; from SAME on it is the same picture


def fingerprint(image: Uint8) -> Fingerprint:
    """image: (H, W, 3) RGB."""
    import cv2
    import numpy as np

    digest = hashlib.blake2b(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes(), digest_size=8)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    contrast = small - _blurred(small)
    details = contrast / (np.sqrt(_blurred(contrast**2)) + FAINTEST)
    details -= details.mean()
    largest = float(np.abs(details).max())
    scaled = np.round(details.ravel() * (127 / largest if largest > 1e-3 else 0)).astype(np.int8)
    return Fingerprint(int.from_bytes(digest.digest(), "little"), scaled)


def _blurred(picture: Floats) -> Floats:
    import cv2
    import numpy as np

    return np.asarray(cv2.GaussianBlur(picture, (0, 0), SURROUNDINGS, borderType=cv2.BORDER_REFLECT), np.float32)


def matches(chosen: Ints, pixels: Pixels, details: Details, splits: Numbers) -> list[Match]:
    """For every image the earlier one of another split that is most like it, and the earlier one of its own.

    chosen: the numbers of the images to compare, ascending, of N; pixels: (N,); details: (N, 576);
    splits: (N,) the number of each image's split, ascending. Of images with the same pixels only the first is compared
    with others.
    """
    import numpy as np

    _, first, group = np.unique(pixels[chosen], return_index=True, return_inverse=True)
    earliest = chosen[first[group]]
    copies = earliest != chosen
    pairs = zip(chosen[copies].tolist(), earliest[copies].tolist(), strict=True)
    found = [Match(image, earlier, 1.0) for image, earlier in pairs]
    originals = chosen[~copies]
    compared = originals[details[originals].any(1)]
    best = {apart: _Best(len(pixels)) for apart in (True, False)}
    for a, b, likeness in _alike(details, splits, compared):
        apart = splits[a] != splits[b]
        best[True].note(a[apart], b[apart], likeness[apart])
        best[False].note(a[~apart], b[~apart], likeness[~apart])
    return sorted([*found, *best[True].matches(), *best[False].matches()])


class _Best:
    """The best match of each image so far."""

    def __init__(self, images: int) -> None:
        import numpy as np

        self._earlier = np.zeros(images, np.int64)
        self._likeness = np.zeros(images, np.float32)

    def note(self, a: Ints, b: Ints, likeness: Floats) -> None:
        import numpy as np

        order = np.argsort(likeness, kind="stable")  # of several for one image, the last is kept
        later, earlier, ranked = np.maximum(a, b)[order], np.minimum(a, b)[order], likeness[order]
        better = ranked > self._likeness[later]
        self._earlier[later[better]], self._likeness[later[better]] = earlier[better], ranked[better]

    def matches(self) -> Iterator[Match]:
        for image in self._likeness.nonzero()[0]:
            yield Match(int(image), int(self._earlier[image]), float(self._likeness[image]))


def _alike(details: Details, splits: Numbers, compared: Ints) -> Iterator[tuple[Ints, Ints, Floats]]:
    """Pairs with a likeness of NEAR or more, a block of them at a time.

    Vectors of length 1 whose product is NEAR are sqrt(2 - 2 NEAR) apart, and no further in the few directions in which
    the images differ most: who is further apart there, or in the first direction alone, need not be compared in full.
    """
    import numpy as np

    if len(compared) < 2:
        return
    places = _places(details, compared)
    order = np.argsort(places[:, 0], kind="stable")
    numbers, places = compared[order], places[order]
    squares, one = (places**2).sum(1, keepdims=True), np.ones((len(places), 1), np.float32)
    left, right = np.hstack([2 * places, REACH**2 - squares, one]), np.hstack([places, one, -squares])
    for start in range(0, len(places), BLOCK):
        end = int(np.searchsorted(places[:, 0], places[start : start + BLOCK][-1, 0] + REACH, side="right"))
        for other in range(start, end, BLOCK):
            a, b = numbers[start : start + BLOCK], numbers[other : min(other + BLOCK, end)]
            room = left[start : start + BLOCK] @ right[other : min(other + BLOCK, end)].T  # REACH^2 - distance^2
            rows, columns = _within_reach(np.triu(room, 1) if other == start else room, splits[a], splits[b])
            likeness = np.einsum("ij,ij->i", _unit(details[a[rows]]), _unit(details[b[columns]]))
            near = likeness >= NEAR
            yield a[rows][near], b[columns][near], likeness[near]


def _within_reach(room: Floats, splits: Numbers, others: Numbers) -> tuple[Ints, Ints]:
    """Rows and columns of what is above 0; where many images are alike, for each the closest of its split and another.

    room: (R, C); splits: (R,) and others: (C,), those of the images.
    """
    import numpy as np

    found = np.flatnonzero(room > 0)
    if len(found) > CROWD:
        apart = splits[:, None] != others
        closest = [np.where(chosen, room, 0).argmax(1) for chosen in (apart, ~apart)]
        found = np.unique(np.concatenate([np.arange(len(room)) * room.shape[1] + columns for columns in closest]))
        found = found[room.ravel()[found] > 0]
    rows, columns = np.unravel_index(found, room.shape)
    return rows, columns


def _places(details: Details, compared: Ints) -> Floats:
    """(compared, DIRECTIONS): where the images lie in the directions in which a sample of them differs most."""
    import numpy as np

    sampled = _unit(details[compared[:: -(-len(compared) // SAMPLED)]])
    mean = sampled.mean(0)
    _, directions = np.linalg.eigh((sampled - mean).T @ (sampled - mean))  # the strongest come last
    chosen = directions[:, : -DIRECTIONS - 1 : -1]
    blocks = (compared[start : start + BLOCK] for start in range(0, len(compared), BLOCK))
    return np.concatenate([(_unit(details[block]) - mean) @ chosen for block in blocks])


def _unit(details: Details) -> Floats:
    import numpy as np

    vectors: Floats = details.astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
