"""Distances in label maps, in pixels: exact Euclidean ones, by OpenCV on the CPU.

A batch on a GPU is fetched for it, class by class and image by image; the losses that need this say what it costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    Mask = npt.NDArray[np.bool_]
    Distances = npt.NDArray[np.float32]


def distances_to(mask: Mask) -> Distances:
    """(H, W): how far each pixel is from the nearest true one, between their centres. `mask` has a true pixel."""
    import cv2
    import numpy as np

    distances = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # its roots differ by some 1e-6 from call to call; what they are roots of are whole numbers
    exact: Distances = np.sqrt(np.rint(np.square(distances, dtype=np.float64))).astype(np.float32)
    return exact


def signed_distances(maps: Tensor, valid: Tensor) -> Tensor:
    """(N, C, H, W) float32 on the CPU: outside a class how far it is to it, inside minus how far it is out of it.

    maps: (N, C, H, W) bool; valid: (N, H, W). A void pixel is neither inside nor outside, so the rim of void is no
    border. 0 where an image shows nothing of the class, or nothing else.
    """
    import numpy as np
    import torch

    inside, labelled = maps.numpy(force=True), valid.numpy(force=True)
    found = torch.zeros(maps.shape)
    for n, c in np.argwhere(inside.any(axis=(2, 3))):
        within, without = inside[n, c], labelled[n] & ~inside[n, c]
        if without.any():
            found[n, c] = torch.from_numpy(distances_to(within) - distances_to(without))
    return found
