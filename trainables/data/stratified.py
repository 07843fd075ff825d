"""Drawing a part of the images in which every class keeps its share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def draw(presence: npt.NDArray[np.bool_], count: int, seed: int) -> list[int]:
    """`count` of the N images; each class is in about its share of them, and in one at least while there is room.

    presence: (N, C), which image shows which class; 1 <= count <= N.
    Source: iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011) with two parts: the class with the fewest
    images left comes first, and its images go to the part that still lacks most of it. Where the parts lack the same,
    the one with more room takes the image; the size of the parts is exact.
    """
    import numpy as np

    total = presence.sum(0)
    share = count / len(presence)
    wanted = np.maximum(total * share, total > 0)  # a class that is there stays there
    missing = np.stack([wanted, total - wanted])  # (part, class): images that the drawn part and the rest still lack
    room = np.array([count, len(presence) - count], np.float64)
    order = np.random.default_rng(seed).permutation(len(presence))
    left, remaining = np.ones(len(presence), np.bool_), total.copy()
    drawn: list[int] = []

    def put(image: int, part: int) -> None:
        missing[part] -= presence[image]
        remaining[presence[image]] -= 1
        room[part] -= 1
        left[image] = False
        if part == 0:
            drawn.append(image)

    while remaining.any():
        rarest = int(np.where(remaining > 0, remaining, len(presence) + 1).argmin())
        for image in order[presence[order, rarest] & left[order]].tolist():
            lacking = (missing[0, rarest], room[0]), (missing[1, rarest], room[1])
            put(image, int(room[0] < 1 or (room[1] >= 1 and lacking[1] > lacking[0])))
    for image in order[left[order]].tolist():  # these show no class at all
        put(image, int(room[0] < 1))
    return drawn
