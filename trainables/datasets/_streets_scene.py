"""The plan of a street and what stands in it, painted from far to near."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from segsweep.trainables.components import VOID, Color
from segsweep.trainables.datasets import _streets_things as things
from segsweep.trainables.datasets._streets_canvas import FAR_M, FLAT, MARKING, NATURE, SKY, Camera, Canvas, shade

NEAR_M, END_M = 1.2, 120.0  # where ground polygons begin and end
Span = tuple[float, float]  # from, to; in metres


@dataclass(frozen=True)
class Street:
    """One street: where it is painted, its plan and its palette."""

    site: things.Site
    road_m: float  # half the width of the road
    walk_m: float  # the width of each pavement
    urban: float  # 0 country .. 1 town
    asphalt: Color
    pavement: Color
    grass: Color
    paint: Color

    def strip(self, across: Span, along: Span, color: Color, label: int) -> None:
        """A rectangle on the ground."""
        corners = [(across[0], along[0]), (across[0], along[1]), (across[1], along[1]), (across[1], along[0])]
        self.site.canvas.polygon([self.site.camera.pixel((x, 0.0, z)) for x, z in corners], color, label, END_M)


def draw(size: tuple[int, int], rng: np.random.Generator) -> Canvas:
    """A street of (height, width) `size`, in the even light of a grey noon."""
    street = _plan(size, rng)
    _sky(street, rng)
    _ground(street)
    _markings(street, rng)
    _measure_ground(street)
    for _, paint in sorted(_things(street, rng), key=lambda thing: -thing[0]):
        paint()
    _void(street, rng)
    return street.site.canvas


def _plan(size: tuple[int, int], rng: np.random.Generator) -> Street:
    height, width = size
    camera = Camera(
        focal=rng.uniform(0.65, 0.9) * width,
        center_x=rng.uniform(0.35, 0.65) * width,
        horizon=rng.uniform(0.36, 0.5) * height,
        height_m=rng.uniform(1.3, 1.8),
    )
    season = things.pick(rng, ((62, 105, 48), (72, 120, 60), (120, 112, 48), (88, 100, 66)))
    return Street(
        site=things.Site(Canvas.empty(size), camera, shade(rng, season, 8)),
        road_m=rng.uniform(3.2, 6.5),
        walk_m=rng.uniform(1.5, 3.5),
        urban=rng.random(),
        asphalt=shade(rng, (96, 96, 100), 14),
        pavement=shade(rng, (142, 136, 132), 14),
        grass=shade(rng, (104, 122, 66), 14),
        paint=shade(rng, (222, 220, 210), 12),
    )


def _sky(street: Street, rng: np.random.Generator) -> None:
    """Blue or grey, lighter downwards, with clouds; hills at the horizon."""
    canvas, horizon = street.site.canvas, street.site.camera.horizon
    height, width = canvas.label.shape
    top, bottom = ((90, 140, 210), (200, 220, 240)) if rng.random() < 0.6 else ((165, 170, 176), (208, 208, 208))
    share = np.linspace(0, 1, height)[:, None, None]
    canvas.color[:] = (np.array(top) * (1 - share) + np.array(bottom) * share).astype(np.uint8)
    for _ in range(rng.integers(0, 5)):
        place = rng.uniform(0, width), rng.uniform(0, horizon * 0.8)
        radii = rng.uniform(0.05, 0.15) * width, rng.uniform(0.02, 0.05) * height
        canvas.ellipse(place, radii, shade(rng, (225, 228, 232), 10), SKY, FAR_M)
    xs = np.linspace(-0.05 * width, 1.05 * width, 9)
    ridge = [(x, horizon - rng.uniform(0, 0.09) * height) for x in xs]
    ends = [(xs[-1], horizon + 2), (xs[0], horizon + 2)]
    canvas.polygon([*ridge, *ends], shade(rng, (95, 122, 98), 16), NATURE, 150.0)


def _ground(street: Street) -> None:
    """Town squares or grass on both sides, pavements outside villages, the road."""
    canvas, road, curb = street.site.canvas, street.road_m, street.road_m + street.walk_m
    height, width = canvas.label.shape
    side = (street.pavement, FLAT) if street.urban > 0.75 else (street.grass, NATURE)
    canvas.box((0, street.site.camera.horizon), (width, height), *side, distance_m=END_M)
    ahead = (NEAR_M, END_M)
    if street.urban > 0.3:
        street.strip((-curb, curb), ahead, street.pavement, FLAT)
        street.strip((-road - 0.3, road + 0.3), ahead, things.darker(street.pavement, 0.75), FLAT)  # the curbstones
    street.strip((-road, road), ahead, street.asphalt, FLAT)


def _markings(street: Street, rng: np.random.Generator) -> None:
    """Edge lines, a dashed middle, sometimes a zebra crossing; some roads have none."""
    paint, road = (street.paint, MARKING), street.road_m
    if rng.random() < 0.7:
        for edge in (-road + 0.3, road - 0.5):
            street.strip((edge, edge + 0.2), (NEAR_M, 60.0), *paint)
    if rng.random() < 0.8:
        for start in np.arange(NEAR_M + rng.uniform(0, 4), 50.0, 6.0).tolist():
            street.strip((-0.12, 0.12), (start, start + 3.0), *paint)
    if rng.random() < 0.25:
        near = rng.uniform(6.0, 14.0)
        for left in np.arange(-road + 0.4, road - 0.6, 1.1).tolist():
            street.strip((left, left + 0.55), (near, near + 3.0), *paint)


def _measure_ground(street: Street) -> None:
    """The distance of each row of the ground: a plane, not the one number of the polygons above."""
    camera, canvas = street.site.camera, street.site.canvas
    rows = np.arange(round(camera.horizon), canvas.label.shape[0], dtype=np.float32)
    ground_m = camera.focal * camera.height_m / np.maximum(rows - camera.horizon, 0.5)
    canvas.distance_m[round(camera.horizon) :] = np.minimum(ground_m, END_M)[:, None]


def _things(street: Street, rng: np.random.Generator) -> list[tuple[float, Callable[[], None]]]:
    """Everything that stands on the ground, with its distance; places are drawn here, details when it is painted."""
    found: list[tuple[float, Callable[[], None]]] = []

    def put(paint: things.Paint, x: float, z: float) -> None:
        own = np.random.default_rng(int(rng.integers(2**32)))  # so that nothing depends on the order of painting
        found.append((z, partial(paint, street.site, own, x, z)))

    for side in (-1, 1):
        _roadside(street, rng, side, put)
    for _ in range(rng.integers(1, 6)):
        put(things.car, float(rng.choice([-1, 1])) * street.road_m * rng.uniform(0.35, 0.8), rng.uniform(6.0, 45.0))
    if rng.random() < 0.15:
        put(things.person, rng.uniform(-0.8, 0.8) * street.road_m, rng.uniform(7.0, 20.0))
    return found


def _roadside(
    street: Street, rng: np.random.Generator, side: int, put: Callable[[things.Paint, float, float], None]
) -> None:
    """One side: blocks or trees every 9 m, poles, people, sometimes an odd thing."""
    road, curb = street.road_m, street.road_m + street.walk_m
    back = curb + rng.uniform(0.3, 3.0)
    for z in np.arange(5.0 + rng.uniform(0, 5), 80.0, 9.0).tolist():
        if rng.random() < street.urban:
            put(things.building, side * back, z)
        else:
            put(things.pick_plant(rng), side * (curb + rng.uniform(0.5, 6.0)), z + 4.0)
    for z in np.arange(4.5 + rng.uniform(0, 6), 50.0, rng.uniform(7, 14)).tolist():
        put(things.pole, side * (road + rng.uniform(0.3, 0.8)), z)
    for _ in range(rng.integers(0, 4)):
        put(things.person, side * (road + rng.uniform(0.2, street.walk_m)), rng.uniform(5.0, 26.0))
    if rng.random() < 0.2:
        put(things.oddity, side * (road + rng.uniform(0.4, 1.0)), rng.uniform(5.0, 15.0))


def _void(street: Street, rng: np.random.Generator) -> None:
    """The own bonnet at the bottom, and the dark strip that rectifying a lens leaves along the border."""
    canvas = street.site.canvas
    height, width = canvas.label.shape
    radii = rng.uniform(0.35, 0.6) * width, rng.uniform(0.06, 0.12) * height
    canvas.ellipse((width / 2, height), radii, shade(rng, (60, 62, 70), 25), VOID, 1.0)
    strip = max(1, round(height / 96))
    for edge in (np.s_[:strip], np.s_[-strip:], np.s_[:, :strip], np.s_[:, -strip:]):
        canvas.label[edge], canvas.color[edge], canvas.distance_m[edge] = VOID, 0, 1.0
