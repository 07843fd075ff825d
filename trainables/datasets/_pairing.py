"""Which mask belongs to which image, and which pair to which split."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from segsweep.trainables.components import SPLITS, ComponentOptions, DataError, Split
from segsweep.trainables.datasets._problems import SHOWN, of_each
from segsweep.trainables.plurals import counted

IMAGE_ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MASK_ENDINGS = (
    ".bmp",
    ".gif",
    ".npy",
    ".png",
    ".tif",
    ".tiff",
)  # lossless ones: JPEG invents values between the classes
Ids = Mapping[Split, Sequence[str]]


class Fractions(ComponentOptions):
    """Shares of all pairs, drawn by a seed. They sum to 1."""

    train: Annotated[float, Field(gt=0, lt=1)] = 0.7
    val: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test: Annotated[float, Field(ge=0, lt=1)] = 0.15
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError(f"train + val + test is {self.train + self.val + self.test:g}, but must be 1")
        return self


@dataclass(frozen=True)
class Template:
    """Where files lie: a folder, and `{id}` in the path below it, `{id}_mask.png`. Without ending, any known fits."""

    folder: Path
    below: str
    endings: tuple[str, ...]

    @classmethod
    def of(cls, root: Path, text: str, endings: tuple[str, ...], suffix: str = "") -> Template:
        """`masks` is short for `masks/{id}`; suffix: what follows the id there."""
        whole = text if "{id}" in text else f"{text}/{{id}}{suffix}"
        fixed, _, _ = whole.partition("{id}")
        folder = fixed.rpartition("/")[0]
        below = whole.removeprefix(folder).removeprefix("/")
        return cls(root / folder, below, () if Path(below).suffix.lower() in endings else endings)

    def path(self, id_: str) -> Path:
        """Where the id's file would be; .png where the ending is open."""
        return self.folder / (self.below.replace("{id}", id_) + (".png" if self.endings else ""))

    def found(self) -> Mapping[str, Path]:
        """Every file by its id. Raises DataError where there is none, or two of one id."""
        if not self.folder.is_dir():
            raise DataError(f"{self.folder}: no such folder. `images` and `masks` say what lies where below `root`")
        found: dict[str, Path] = {}
        for id_, path in self._matches():
            if id_ in found:
                raise DataError(f"{path}: has the same name as {found[id_].name}; one image, one file")
            found[id_] = path
        if not found:
            endings = f" with one of the endings {', '.join(self.endings)}" if self.endings else ""
            raise DataError(f"{self.folder}: holds no file {self.below.replace('{id}', '*')}{endings}")
        return found

    def _matches(self) -> Iterator[tuple[str, Path]]:
        ending = f"(?i:{'|'.join(map(re.escape, self.endings))})" if self.endings else ""
        before, *between = map(re.escape, self.below.split("{id}"))
        pattern = re.compile(f"{before}(?P<id>.+){'(?P=id)'.join(between)}{ending}")
        for folder, subfolders, names in os.walk(self.folder):
            subfolders.sort()
            place = Path(folder).relative_to(self.folder).as_posix()
            for name in sorted(name for name in names if not name.startswith(".")):  # macOS leaves ._a.png
                match = pattern.fullmatch(name if place == "." else f"{place}/{name}")
                if match:
                    yield match["id"], Path(folder, name)


@dataclass(frozen=True)
class Layout:
    """A mask belongs to the image with the same id."""

    images: Template
    masks: Template

    @classmethod
    def of(cls, root: Path, images: str, masks: str, suffix: str = "") -> Layout:
        return cls(Template.of(root, images, IMAGE_ENDINGS), Template.of(root, masks, MASK_ENDINGS, suffix))


@dataclass(frozen=True)
class Pairs:
    """The files by id, some of them perhaps without partner."""

    layout: Layout
    images: Mapping[str, Path]
    masks: Mapping[str, Path]

    def files(self, id_: str) -> tuple[Path, Path]:
        return self.images[id_], self.masks[id_]

    def complete(self) -> list[str]:
        """The ids of all files, sorted. Raises DataError for those that miss an image or a mask."""
        ids = sorted({*self.images, *self.masks})
        self.require(ids, str(self.layout.images.folder))
        return ids

    def require(self, ids: Collection[str], place: str) -> None:
        """Raise one DataError for all of `ids` that miss an image or a mask."""
        no_image = sorted({*ids} - self.images.keys())
        no_mask = sorted({*ids} & self.images.keys() - self.masks.keys())
        problems = []
        if no_image:
            problems.append(
                f"{place}: {_some(no_image)} without an image in {self.layout.images.folder} "
                f"({', '.join(IMAGE_ENDINGS)}). Add the image or take the name out"
            )
        if no_mask:
            expected = self.layout.masks.path(no_mask[0])
            problems.append(
                f"{place}: {_some(no_mask)} without a mask, such as {expected} ({', '.join(MASK_ENDINGS)}). "
                "Add the mask or take the image out; `mask_suffix` names what masks have after the image's name"
            )
        if problems:
            each = [*map(self._no_image, no_image), *map(self._no_mask, no_mask)]
            raise DataError("\n".join(problems), "unpaired", each)

    def _no_image(self, id_: str) -> str:
        missing = f"no image '{id_}' in {self.layout.images.folder}. Add the image"
        if id_ in self.masks:
            return f"{self.masks[id_]}: a mask without an image; there is {missing} or take the mask out"
        return f"{missing} or take the name out of the list"

    def _no_mask(self, id_: str) -> str:
        expected = self.layout.masks.path(id_)
        return f"{self.images[id_]}: an image without a mask; no {expected}. Add the mask or take the image out"


def pair_up(layout: Layout) -> Pairs:
    """Find all images and masks. Raises DataError where a folder is missing or a name is there twice."""
    return Pairs(layout, layout.images.found(), layout.masks.found())


def fractions(pairs: Pairs, split: Fractions) -> Ids:
    """Shuffle all pairs by the seed and cut. Every split that has a share gets a pair. Raises DataError."""
    ids = pairs.complete()
    wanted = {"val": split.val, "test": split.test}
    counts = {name: max(1, round(share * len(ids))) if share else 0 for name, share in wanted.items()}
    if sum(counts.values()) >= len(ids):
        raise DataError(
            f"{pairs.layout.images.folder}: {len(ids)} images are too few to be split in train, val and test"
        )
    random.Random(split.seed).shuffle(ids)
    val, test = ids[: counts["val"]], ids[counts["val"] : sum(counts.values())]
    return _without_empty({"train": ids[sum(counts.values()) :], "val": val, "test": test})


def lists(pairs: Pairs, folder: Path) -> Ids:
    """The ids in train.txt, val.txt and, if it exists, test.txt. Raises DataError."""
    ids = {
        split: _listed(folder / f"{split}.txt") for split in SPLITS if split != "test" or (folder / "test.txt").exists()
    }
    of_each(ids, lambda split: pairs.require(ids[split], str(folder / f"{split}.txt")))
    seen: dict[str, Split] = {}
    for split, names in ids.items():
        for name in names:
            if (first := seen.setdefault(name, split)) != split:
                raise DataError(
                    f"{folder}: '{name}' is in {first}.txt and in {split}.txt; scores would be of trained images"
                )
    return ids


def _listed(path: Path) -> Sequence[str]:
    if not path.is_file():
        raise DataError(
            f"{path}: missing. List one image name a line, or let a seed split: "
            "`split: {train: 0.7, val: 0.15, test: 0.15}`"
        )
    names = [Path(line.strip()) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    ids = [(name.with_suffix("") if name.suffix.lower() in IMAGE_ENDINGS else name).as_posix() for name in names]
    if not ids:
        raise DataError(f"{path}: names no image, so the split would be empty. List one image name a line")
    if len({*ids}) < len(ids):
        raise DataError(f"{path}: '{Counter(ids).most_common(1)[0][0]}' is listed twice")
    return ids


def _without_empty(ids: Ids) -> Ids:
    return {split: names for split, names in ids.items() if names}


def _some(names: Sequence[str]) -> str:
    """`3 names (a, b, c)`"""
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    return f"{counted(len(names), 'name')} ({shown})"
