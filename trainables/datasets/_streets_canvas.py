"""What a street is drawn on: colour, class and distance of every pixel, and a pinhole camera above the road."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from segsweep.trainables.components import Color, Uint8

FLAT, MARKING, CONSTRUCTION, OBJECT, NATURE, SKY, HUMAN, VEHICLE = range(8)  # the order of streets.CLASSES
FAR_M = 300.0  # the distance of the sky

Place = tuple[float, float, float]  # metres to the right, up from the road, ahead
Pixel = tuple[float, float]


@dataclass(frozen=True)
class Camera:
    """A pinhole at `height_m` above the road that looks along it."""

    focal: float  # in pixels
    center_x: float  # the vanishing point of the road
    horizon: float
    height_m: float

    def pixel(self, point: Place) -> Pixel:
        x, y, z = point
        return self.center_x + self.focal * x / z, self.horizon + self.focal * (self.height_m - y) / z

    def pixels(self, metres: float, distance_m: float) -> float:
        """How many pixels a length across the view has."""
        return self.focal * metres / distance_m


@dataclass(frozen=True)
class Light:
    """A lamp that shines at night."""

    place: Pixel
    radius: float  # in pixels
    color: Color


@dataclass(frozen=True)
class Canvas:
    """Three images of one size, always drawn together, so that label and colour have the same edges."""

    color: Uint8  # (H, W, 3)
    label: Uint8  # (H, W)
    distance_m: npt.NDArray[np.float32]  # (H, W)
    lights: list[Light] = field(default_factory=list)

    @classmethod
    def empty(cls, size: tuple[int, int]) -> Canvas:
        return cls(np.zeros((*size, 3), np.uint8), np.full(size, SKY, np.uint8), np.full(size, FAR_M, np.float32))

    def polygon(self, points: Sequence[Pixel], color: Color, label: int, distance_m: float) -> None:
        corners = [np.array([(_pixel(x), _pixel(y)) for x, y in points], np.int32)]
        cv2.fillPoly(self.color, corners, color)
        cv2.fillPoly(self.label, corners, label)
        cv2.fillPoly(self.distance_m, corners, distance_m)

    def box(self, corner: Pixel, opposite: Pixel, color: Color, label: int, distance_m: float) -> None:
        (x0, y0), (x1, y1) = corner, opposite
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color, label, distance_m)

    def ellipse(self, center: Pixel, radii: Pixel, color: Color, label: int, distance_m: float) -> None:
        middle = (round(center[0]), round(center[1]))
        axes = (max(1, round(radii[0])), max(1, round(radii[1])))
        cv2.ellipse(self.color, middle, axes, 0, 0, 360, color, cv2.FILLED)
        cv2.ellipse(self.label, middle, axes, 0, 0, 360, label, cv2.FILLED)
        cv2.ellipse(self.distance_m, middle, axes, 0, 0, 360, distance_m, cv2.FILLED)

    def post(self, foot: Pixel, top: Pixel, width: int, color: Color, distance_m: float) -> None:
        """A pole: a straight line of 1 to 3 pixels."""
        ends = (round(foot[0]), round(foot[1])), (round(top[0]), round(top[1]))
        cv2.line(self.color, *ends, color, width)
        cv2.line(self.label, *ends, OBJECT, width)
        cv2.line(self.distance_m, *ends, distance_m, width)


def shade(rng: np.random.Generator, color: Color, spread: float) -> Color:
    """A colour near `color`: lightness varies by `spread` grey levels (standard deviation), each channel by half."""
    light, *tint = rng.normal(0, spread, 4).tolist()
    r, g, b = (max(0, min(255, round(c + light + t / 2))) for c, t in zip(color, tint, strict=True))
    return r, g, b


def _pixel(value: float) -> int:
    """Rounded; far outside the image OpenCV's fixed-point numbers would overflow."""
    return max(-9999, min(9999, round(value)))
