"""What people look at: overlays, legends and maps of errors, as RGB arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from segsweep.trainables.components import VOID, Color

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

    from segsweep.trainables.components import Uint8

GAP = 6  # white pixels between two pictures
WRONG, UNKNOWN = (255, 0, 0), (128, 128, 128)  # of a map of errors
DIMMED = 0.4  # of the image below it
LEGEND_PX = 20  # height of a line


def overlay(image: Uint8, labels: Uint8, colors: Sequence[Color], alpha: float) -> Uint8:
    """(H, W, 3): the image with the colours of its labels over it, `alpha` of them; what is VOID stays as it is."""
    painted = _painted(labels, tuple(colors))
    mixed = np.asarray(cv2.addWeighted(image, 1 - alpha, painted, alpha, 0), np.uint8)
    void = labels == VOID
    if void.any():
        mixed[void] = image[void]
    return mixed


def error_map(image: Uint8, labels: Uint8, truth: Uint8) -> Uint8:
    """(H, W, 3): the image in dim grey, red where the labels are wrong; grey where the truth is VOID."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    found = np.asarray(cv2.convertScaleAbs(grey, alpha=DIMMED), np.uint8)
    found[labels != truth] = WRONG
    found[truth == VOID] = UNKNOWN
    return found


def side_by_side(*pictures: Uint8) -> Uint8:
    """Of one height, with a gap between them."""
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (gap, picture)][1:], axis=1)


def with_legend(picture: Uint8, names: Sequence[str], colors: Sequence[Color]) -> Uint8:
    """The picture with the names of the classes below it, each behind its colour."""
    if not names:
        return picture
    return np.concatenate([picture, _legend(picture.shape[1], tuple(names), tuple(colors))])


@lru_cache(maxsize=64)
def _legend(width: int, names: tuple[str, ...], colors: tuple[Color, ...]) -> Uint8:
    from PIL import Image, ImageDraw

    font, box = _font(), LEGEND_PX - 6
    widest = max(font.getlength(name) for name in names)
    columns = max(1, min(len(names), int(width // (box + widest + 18))))
    rows = -(-len(names) // columns)
    sheet = Image.new("RGB", (width, rows * LEGEND_PX + 6), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (name, color) in enumerate(zip(names, colors, strict=True)):
        x, y = 6 + place % columns * (width // columns), 4 + place // columns * LEGEND_PX
        draw.rectangle((x, y, x + box, y + box), fill=color, outline=(64, 64, 64))
        draw.text((x + box + 6, y + box / 2), name, fill="black", font=font, anchor="lm")
    return np.asarray(sheet).copy()


@lru_cache(maxsize=1)
def _font() -> FreeTypeFont:
    """matplotlib's, which has the letters of most alphabets."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")), 13)


def _painted(labels: Uint8, colors: tuple[Color, ...]) -> Uint8:
    return np.asarray(_table(colors)[labels])


@lru_cache(maxsize=8)
def _table(colors: tuple[Color, ...]) -> Uint8:
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    return table
