"""The light that a street is seen in: day, night or fog, with texture, shading and sensor noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import numpy.typing as npt

from segsweep.trainables.datasets._streets_canvas import CONSTRUCTION, NATURE, Canvas

if TYPE_CHECKING:
    from segsweep.trainables.components import Uint8

    Float = npt.NDArray[np.float32]

GRAIN = np.full(256, 5.0, np.float32)  # grey levels of surface texture by class: leaves are rougher than asphalt
GRAIN[[NATURE, CONSTRUCTION]] = 14.0, 8.0


def render(scene: Canvas, variant: Literal["day", "night", "fog"], rng: np.random.Generator) -> Uint8:
    """(H, W, 3) RGB as a camera would take it."""
    image = _textured(scene, rng)
    lit, noise = {"day": _day, "night": _night, "fog": _fog}[variant](image, scene, rng)
    blurred: Float = cv2.GaussianBlur(lit, (3, 3), 0.55)  # no camera has edges as hard as drawn ones
    grain = rng.standard_normal(blurred.shape, dtype=np.float32) * noise
    return (blurred + grain).clip(0, 255).astype(np.uint8)


def _textured(scene: Canvas, rng: np.random.Generator) -> Float:
    """Surfaces with texture, and one side of the street brighter than the other."""
    height, width = scene.label.shape
    grain = rng.standard_normal((height, width), dtype=np.float32) * GRAIN[scene.label]
    coarse = cv2.resize(rng.standard_normal((6, 9), dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    slope = np.linspace(-1, 1, width, dtype=np.float32)[None] * rng.uniform(-0.15, 0.15)
    shading: Float = (1 + 0.08 * coarse + slope).astype(np.float32)
    return ((scene.color.astype(np.float32) + grain[..., None]) * shading[..., None]).astype(np.float32)


def _day(image: Float, scene: Canvas, rng: np.random.Generator) -> tuple[Float, float]:
    """Sun or clouds: exposure and colour balance vary."""
    balance = rng.uniform(0.93, 1.07, 3).astype(np.float32)
    return image * balance * np.float32(rng.uniform(0.7, 1.15)), rng.uniform(3, 8)


def _night(image: Float, scene: Canvas, rng: np.random.Generator) -> tuple[Float, float]:
    """Dark and bluish, lit by the own headlights and by lamps that glare; much noise."""
    width = scene.label.shape[1]
    dark = image * np.array([0.16, 0.18, 0.24], np.float32) * np.float32(rng.uniform(0.8, 1.4))
    beam = np.exp(-((np.linspace(-1, 1, width, dtype=np.float32) / 0.7) ** 2))[None] * np.exp(-scene.distance_m / 12)
    dark += image * (rng.uniform(0.3, 0.55) * beam)[..., None].astype(np.float32)
    return dark + _glare(scene), rng.uniform(6, 11)


def _glare(scene: Canvas) -> Float:
    """Each lamp as a bright disc, plus what the lens scatters around it."""
    glow = np.zeros((*scene.label.shape, 3), np.float32)
    for light in scene.lights:
        place = round(light.place[0]), round(light.place[1])
        cv2.circle(glow, place, max(1, round(light.radius)), light.color, cv2.FILLED)
    wide: Float = cv2.GaussianBlur(glow, (0, 0), max(1.0, scene.label.shape[0] / 30))
    return (0.6 * glow + 1.2 * wide).astype(np.float32)


def _fog(image: Float, scene: Canvas, rng: np.random.Generator) -> tuple[Float, float]:
    """What is far fades into grey. Source: Koschmieder's law, transmission = exp(-distance / visibility)."""
    seen = np.exp(-scene.distance_m / rng.uniform(9, 24))[..., None].astype(np.float32)
    haze = np.array([192, 196, 200], np.float32) * np.float32(rng.uniform(0.75, 1.1))
    return image * seen + haze * (1 - seen), rng.uniform(3, 6)
