"""What stands in a street. Each function paints one thing at x metres to the right, z metres ahead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from segsweep.trainables.components import VOID, Color
from segsweep.trainables.datasets._streets_canvas import (
    CONSTRUCTION,
    HUMAN,
    NATURE,
    OBJECT,
    VEHICLE,
    Camera,
    Canvas,
    Light,
    shade,
)

LAMP: Color = (255, 214, 150)
WALLS: tuple[Color, ...] = ((178, 120, 95), (196, 180, 152), (150, 150, 155), (120, 105, 100), (205, 200, 190))
PAINTS: tuple[Color, ...] = (
    (190, 30, 35),
    (30, 60, 140),
    (225, 225, 225),
    (40, 42, 46),
    (130, 134, 140),
    (200, 170, 40),
)
CLOTHES: tuple[Color, ...] = (
    (200, 60, 60),
    (50, 70, 150),
    (60, 60, 65),
    (210, 190, 90),
    (90, 140, 90),
    (180, 180, 185),
)
BOARDS: tuple[Color, ...] = ((230, 200, 30), (205, 40, 40), (40, 80, 190), (235, 235, 235))


@dataclass(frozen=True)
class Site:
    """Where things are painted."""

    canvas: Canvas
    camera: Camera
    foliage: Color  # the season

    def upright(self, x: tuple[float, float], y: tuple[float, float], z: float, color: Color, label: int) -> None:
        """A rectangle that faces the camera; x and y in metres."""
        self.canvas.box(self.camera.pixel((x[0], y[0], z)), self.camera.pixel((x[1], y[1], z)), color, label, z)

    def disc(self, place: tuple[float, float, float], radii_m: tuple[float, float], color: Color, label: int) -> None:
        z = place[2]
        radii = self.camera.pixels(radii_m[0], z), self.camera.pixels(radii_m[1], z)
        self.canvas.ellipse(self.camera.pixel(place), radii, color, label, z)

    def lamp(self, place: tuple[float, float, float], radius_m: float, color: Color) -> None:
        x, y = self.camera.pixel(place)
        self.canvas.lights.append(Light((x, y), max(1.0, self.camera.pixels(radius_m, place[2])), color))


Paint = Callable[[Site, np.random.Generator, float, float], None]


def building(site: Site, rng: np.random.Generator, x: float, z: float) -> None:
    """A block of 9 m along the road: its side towards the road and its front towards the camera."""
    high, out, wall = rng.uniform(4.0, 16.0), float(np.sign(x)), shade(rng, pick(rng, WALLS), 16)
    near, far = z, z + 9.0
    corners = [(x, 0.0, near), (x, high, near), (x, high, far), (x, 0.0, far)]
    site.canvas.polygon([site.camera.pixel(c) for c in corners], wall, CONSTRUCTION, near)
    site.upright((x, x + out * 12.0), (0.0, high), near, darker(wall, 0.8), CONSTRUCTION)
    if site.camera.pixels(1.5, near) >= 3.0:  # smaller windows would only be noise
        _windows(site, rng, x, near, high)


def _windows(site: Site, rng: np.random.Generator, x: float, near: float, high: float) -> None:
    """Three on each floor of the side towards the road; some of the rooms are lit at night."""
    glass, lit = shade(rng, (70, 80, 95), 15), rng.random()
    for floor in np.arange(1.2, high - 1.6, 2.9).tolist():
        for along in (near + 0.8, near + 3.4, near + 6.0):
            pane = [(x, floor, along), (x, floor + 1.5, along), (x, floor + 1.5, along + 1.5), (x, floor, along + 1.5)]
            site.canvas.polygon([site.camera.pixel(c) for c in pane], glass, CONSTRUCTION, near)
        if rng.random() < lit * 0.5:
            site.lamp((x + float(np.sign(x)) * rng.uniform(1, 6), floor + 0.8, near), 0.5, LAMP)


def tree(site: Site, rng: np.random.Generator, x: float, z: float) -> None:
    """A trunk and a crown of some overlapping discs in different greens."""
    high = rng.uniform(3.5, 8.0)
    site.upright((x - 0.18, x + 0.18), (0.0, high * 0.6), z, shade(rng, (88, 68, 50), 12), NATURE)
    for _ in range(5):
        place = x + rng.normal(0, 0.2 * high), high * rng.uniform(0.6, 1.0), z
        radius = high * rng.uniform(0.16, 0.28)
        site.disc(place, (radius, radius * 0.85), shade(rng, site.foliage, 20), NATURE)


def bush(site: Site, rng: np.random.Generator, x: float, z: float) -> None:
    for _ in range(3):
        place = x + rng.normal(0, 0.5), 0.4, z
        site.disc(place, (rng.uniform(0.5, 1.0), rng.uniform(0.4, 0.7)), shade(rng, site.foliage, 20), NATURE)


def pole(site: Site, rng: np.random.Generator, x: float, z: float) -> None:
    """1 to 3 pixels wide at any distance, with a lamp, a sign or a traffic light on top."""
    high, grey = rng.uniform(2.6, 5.5), shade(rng, (96, 98, 102), 22)
    foot, top = site.camera.pixel((x, 0.0, z)), site.camera.pixel((x, high, z))
    site.canvas.post(foot, top, int(np.clip(round(site.camera.pixels(0.14, z)), 1, 3)), grey, z)
    kind = rng.integers(4)
    if kind == 0:
        site.upright((x - 0.12, x + 0.5), (high, high + 0.18), z, grey, OBJECT)
        site.lamp((x, high, z), 0.35, LAMP)
    elif kind == 1:
        site.disc((x, high - 0.3, z), (0.36, 0.36), shade(rng, pick(rng, BOARDS), 10), OBJECT)
    elif kind == 2:
        site.upright((x - 0.45, x + 0.45), (high - 0.6, high), z, shade(rng, pick(rng, BOARDS), 10), OBJECT)
    else:
        site.upright((x - 0.18, x + 0.18), (high - 0.9, high), z, (45, 48, 45), OBJECT)
        site.lamp((x, high - 0.5, z), 0.12, pick(rng, ((255, 60, 40), (60, 255, 120))))


def car(site: Site, rng: np.random.Generator, x: float, z: float) -> None:
    """Seen from behind: body, window, wheels, rear lights; one in six is a van or a bus."""
    large = rng.random() < 1 / 6
    half, high = (1.15, rng.uniform(2.2, 3.1)) if large else (0.9, rng.uniform(1.35, 1.65))
    body, waist = shade(rng, pick(rng, PAINTS), 18), high * (0.75 if large else 0.55)
    roof = half * (0.97 if large else 0.7)
    for wheel in (-half * 0.8, half * 0.8):
        site.upright((x + wheel - 0.14, x + wheel + 0.14), (0.0, 0.4), z, (22, 22, 24), VEHICLE)
    outline = [
        (x - half, 0.25),
        (x - half, waist),
        (x - roof, high),
        (x + roof, high),
        (x + half, waist),
        (x + half, 0.25),
    ]
    site.canvas.polygon([site.camera.pixel((a, b, z)) for a, b in outline], body, VEHICLE, z)
    site.upright((x - roof * 0.85, x + roof * 0.85), (waist, high * 0.93), z, (52, 60, 70), VEHICLE)
    site.upright((x - half, x + half), (0.25, 0.45), z, darker(body, 0.6), VEHICLE)
    for lamp in (-half * 0.82, half * 0.82):
        site.upright((x + lamp - 0.12, x + lamp + 0.12), (waist * 0.75, waist * 0.95), z, (190, 25, 25), VEHICLE)
        site.lamp((x + lamp, waist * 0.85, z), 0.16, (255, 40, 30))


def person(site: Site, rng: np.random.Generator, x: float, z: float) -> None:
    """Legs, trunk, head; children are smaller."""
    tall, coat = rng.uniform(1.15, 1.9), shade(rng, pick(rng, CLOTHES), 18)
    stride = rng.uniform(0.05, 0.16)
    for leg in (-stride, stride):
        site.upright((x + leg - 0.08, x + leg + 0.08), (0.0, tall * 0.5), z, shade(rng, (50, 52, 70), 14), HUMAN)
    site.disc((x, tall * 0.64, z), (tall * 0.14, tall * 0.2), coat, HUMAN)
    site.disc((x, tall * 0.92, z), (tall * 0.065, tall * 0.08), shade(rng, (190, 150, 125), 30), HUMAN)


def oddity(site: Site, rng: np.random.Generator, x: float, z: float) -> None:
    """Something that no class is for, such as a bin or a crate: void."""
    site.upright((x - 0.35, x + 0.35), (0.0, rng.uniform(0.6, 1.1)), z, shade(rng, (90, 110, 120), 40), VOID)


def pick(rng: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    return colors[int(rng.integers(len(colors)))]


def pick_plant(rng: np.random.Generator) -> Paint:
    return tree if rng.random() < 0.7 else bush


def darker(color: Color, factor: float) -> Color:
    return int(color[0] * factor), int(color[1] * factor), int(color[2] * factor)
