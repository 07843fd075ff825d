"""Streets drawn from a seed: perspective roads, buildings, trees, cars, people, thin poles. Needs no files, no network.

Eight classes: the seven labelled categories of Cityscapes (Cordts et al. 2016) and lane markings. Void (255) is no
class: it is the ego car's bonnet, a strip along the image border, and odd objects. As on real roads a few classes fill
the image (flat 35 %, construction 22 %) while markings (2.4 %), poles and signs (2.1 %) and people (0.7 %) are rare.
The variants draw the same scenes in other light, so scores on `day`, `night` and `fog` differ by appearance alone.
The same options give the same scenes anywhere.
"""

from __future__ import annotations

import hashlib
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from segsweep.trainables.components import SPLITS, Dataset, DatasetCard, Pair, Sample, Split
from segsweep.trainables.dataset_options import DatasetOptions

CLASSES = {
    "flat": (128, 64, 128),
    "marking": (255, 255, 255),
    "construction": (70, 70, 70),
    "object": (220, 220, 0),
    "nature": (107, 142, 35),
    "sky": (70, 130, 180),
    "human": (220, 20, 60),
    "vehicle": (0, 0, 142),
}

Side = Annotated[int, Field(ge=32, le=2048)]
Count = Annotated[int, Field(ge=1, le=100_000)]


class Options(DatasetOptions):
    """How the streets look, how many there are, and the seed that they are drawn from."""

    variant: Literal["day", "night", "fog"] = "day"
    size: tuple[Side, Side] = (96, 160)  # height, width of images and labels
    train: Count = 64
    val: Count = 24
    test: Count = 24
    seed: Annotated[int, Field(ge=0)] = 0


def root(options: Options) -> None:
    return None


def describe(options: Options) -> DatasetCard:
    return DatasetCard(tuple(CLASSES), tuple(CLASSES.values()))


def build(options: Options) -> Dataset:
    """Scenes that are drawn when read; train, val and test never share one."""
    counts = {"train": options.train, "val": options.val, "test": options.test}
    return Dataset(
        describe(options), {split: [_sample(options, split, i) for i in range(counts[split])] for split in SPLITS}
    )


def _sample(options: Options, split: Split, index: int) -> Sample:
    stamp = f"streets {_drawing()} {options.variant} {options.size} {options.seed} {split} {index}"
    return Sample(f"{split}-{index:05d}", stamp, partial(draw, options, split, index))


@cache
def _drawing() -> str:
    """A digest of the code that draws: whoever changes it need not remember that scenes are cached."""
    files = sorted(Path(__file__).parent.glob("_streets_*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in [*files, Path(__file__)])).hexdigest()[:12]


def draw(options: Options, split: Split, index: int) -> Pair:
    """One scene: the geometry from (seed, split, index), then the light of the variant."""
    import numpy as np

    from segsweep.trainables.datasets import _streets_light, _streets_scene

    seeds = np.random.SeedSequence([options.seed, SPLITS.index(split), index]).spawn(2)
    scene = _streets_scene.draw(options.size, np.random.default_rng(seeds[0]))
    return Pair(_streets_light.render(scene, options.variant, np.random.default_rng(seeds[1])), scene.label)
