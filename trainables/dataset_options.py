"""Options that every dataset has: a part of its images, or cross-validation folds instead of its own splits."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from segsweep.trainables.components import ComponentOptions, Split

Seed = Annotated[int, Field(ge=0)]


class Subset(ComponentOptions):
    """Fewer images: the first n in the dataset's order, or a fraction drawn by the seed.

    splits: the ones that shrink. By default train alone: scores on the whole of val and test stay comparable.
    stratify: rare_classes keeps the share of the images that show a class, the rarest class first, and at least one
    image of each. It reads every mask of the split once; what they show is remembered beside the image cache.
    """

    first: Annotated[int, Field(ge=1)] | None = None
    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    seed: Seed = 0
    stratify: Literal["rare_classes"] | None = None
    splits: Annotated[tuple[Split, ...], Field(min_length=1)] = ("train",)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.first is None) == (self.fraction is None):
            raise ValueError("needs either `first: 100` or `fraction: 0.25`")
        if self.first is not None and {"seed", "stratify"} & self.model_fields_set:
            raise ValueError("`first` draws nothing, so `seed` and `stratify` go with `fraction` alone")
        if len({*self.splits}) < len(self.splits):
            raise ValueError("`splits` names a split twice")
        return self

    @property
    def label(self) -> str:
        """`first100`, `fraction0.25-stratified-seed3`"""
        words = [f"first{self.first}" if self.first else f"fraction{self.fraction:g}"]
        words += ["stratified"] * bool(self.stratify) + [f"seed{self.seed}"] * bool(self.seed)
        return "-".join(words + [*self.splits] * (self.splits != ("train",)))


class Folds(ComponentOptions):
    """Cross-validation: train and val are pooled and cut in `count` folds; fold `index` (from 0) becomes val.

    by: `group` keeps what belongs together (a drive, a city, a patient) in one fold; `sample` draws image by image,
    which is honest only where images are independent. The test split stays as it is.
    """

    count: Annotated[int, Field(ge=2)]
    index: Annotated[int, Field(ge=0)]
    by: Literal["sample", "group"]
    seed: Seed = 0

    @model_validator(mode="after")
    def _index_is_a_fold(self) -> Self:
        if self.index >= self.count:
            raise ValueError(f"`index` is {self.index}, but the {self.count} folds are 0..{self.count - 1}")
        return self

    @property
    def label(self) -> str:
        """`fold0of5-by-group`, `fold0of5-by-sample-seed1`"""
        return f"fold{self.index}of{self.count}-by-{self.by}" + (f"-seed{self.seed}" if self.seed else "")


class DatasetOptions(ComponentOptions):
    """Base of every dataset's `Options`; segsweep.trainables.data.splits.open_dataset does what they ask for."""

    subset: Subset | None = Field(None, examples=[{"fraction": 0.25}])
    folds: Folds | None = Field(None, examples=[{"count": 5, "index": 0, "by": "group"}])

    @property
    def part(self) -> str:
        """`-fold0of5-by-group-first100`: what tells a part's name from the whole's; "" for the whole."""
        return "".join(f"-{chosen.label}" for chosen in (self.folds, self.subset) if chosen)
