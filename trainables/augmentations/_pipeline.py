"""What every augmentation but `none` is made of: steps on a pair, then perhaps a mix of the batch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from pydantic import model_validator

from segsweep.trainables.augmentations._framing import CatMaxRatio, Framing, Scale
from segsweep.trainables.augmentations._mixing import MixingOptions, Probability, mixed
from segsweep.trainables.components import Pair

if TYPE_CHECKING:
    from types import ModuleType

    from albumentations import BasicTransform, Compose


class Step(Protocol):
    def __call__(self, pair: Pair, seed: int) -> Pair: ...


class PresetOptions(MixingOptions):
    """Options of every preset; their defaults differ.

    flip: its probability; scale_min, scale_max: the range of zoom; cat_max_ratio: the largest share of one class in a
    crop, 1 for no limit.
    """

    flip: Probability = 0.5
    scale_min: Scale = 0.5
    scale_max: Scale = 2.0
    cat_max_ratio: CatMaxRatio = 0.75

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> Self:
        if self.scale_min > self.scale_max:
            raise ValueError(f"scale_min is {self.scale_min:g}, but must be at most scale_max, {self.scale_max:g}")
        return self

    def framing(self, image_size: tuple[int, int]) -> Framing:
        return Framing(image_size, self.scale_min, self.scale_max, self.cat_max_ratio)


@dataclass(frozen=True)
class Pipeline:
    """A BatchAugmentation: `steps` one after the other on each pair, then images of a batch mixed."""

    steps: tuple[Step, ...]
    mixing: MixingOptions

    def __call__(self, pair: Pair, seed: int) -> Pair:
        for step in self.steps:
            pair = step(pair, seed)
        return pair

    def mix(self, pairs: Sequence[Pair], seed: int) -> Sequence[Pair]:
        return mixed(self.mixing, pairs, seed)


@dataclass(frozen=True)
class Composed:
    """Transforms of albumentations as a step."""

    compose: Compose

    def __call__(self, pair: Pair, seed: int) -> Pair:
        import random

        import numpy as np

        # set_random_seed would give every transform the same numbers: whatever is flipped would also be jittered alike
        self.compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        out = self.compose(image=pair.image, mask=pair.label)
        return Pair(out["image"], out["mask"])


def library() -> ModuleType:
    """albumentations, imported without asking the network for a newer version."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations

    return albumentations  # type: ignore[no-any-return]


def composed(transforms: Sequence[BasicTransform]) -> Composed:
    return Composed(library().Compose(list(transforms), strict=True))  # else an unknown argument would only warn
