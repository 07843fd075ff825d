"""Whether a mask was scaled smoothly or went through JPEG: both put values between the classes along their borders."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FEWEST = 200  # places to judge by; below, a few thin objects could decide
SHARE = 0.12  # masks of 12 datasets stay below 0.03; scaled bilinearly or saved as JPEG, 0.16 to 0.9


def looks_interpolated(raw: npt.NDArray[np.int64]) -> bool:
    """Whether of all places where values two pixels apart differ by 2 or more, many hold a value between the two.

    raw: (H, W) as stored. Nothing shows in a mask of two neighbouring values, such as 0 and 1.
    """
    import numpy as np

    between = places = 0
    for rows in (raw.astype(np.int32), np.ascontiguousarray(raw.T, np.int32)):
        steps = rows[:, 1:] - rows[:, :-1]
        first, second = steps[:, :-1], steps[:, 1:]
        changes = np.flatnonzero((first != 0) | (second != 0))  # few, so all the rest is cheap
        first, second = first.ravel()[changes], second.ravel()[changes]
        border = np.abs(first + second) >= 2
        places += int(border.sum())
        between += int((border & (np.sign(first) == np.sign(second))).sum())
    return places >= FEWEST and between > SHARE * places
