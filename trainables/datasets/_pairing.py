"""Which mask belongs to which image, and which pair to which split."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from segsweep.trainables.components import SPLITS, ComponentOptions, DataError, Split
from segsweep.trainables.datasets._files import SHOWN

IMAGE_ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MASK_ENDINGS = (".bmp", ".gif", ".png", ".tif", ".tiff")  # lossless ones: JPEG invents values between the classes
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
class Layout:
    """Two folders; a mask is named like its image plus `suffix`."""

    images: Path
    masks: Path
    suffix: str


@dataclass(frozen=True)
class Pairs:
    """The files by id, some of them perhaps without partner."""

    layout: Layout
    images: Mapping[str, Path]
    masks: Mapping[str, Path]

    def files(self, id_: str) -> tuple[Path, Path]:
        return self.images[id_], self.masks[id_]

    def require(self, ids: Collection[str], place: str) -> None:
        """Raise one DataError for all of `ids` that miss an image or a mask."""
        no_image = sorted({*ids} - self.images.keys())
        no_mask = sorted({*ids} & self.images.keys() - self.masks.keys())
        problems = []
        if no_image:
            problems.append(
                f"{place}: {_some(no_image)} without an image in {self.layout.images} ({', '.join(IMAGE_ENDINGS)}). "
                "Add the image or take the name out"
            )
        if no_mask:
            expected = self.layout.masks / f"{no_mask[0]}{self.layout.suffix}.png"
            problems.append(
                f"{place}: {_some(no_mask)} without a mask, such as {expected} ({', '.join(MASK_ENDINGS)}). "
                "Add the mask or take the image out; `mask_suffix` names what masks have after the image's name"
            )
        if problems:
            raise DataError("\n".join(problems))


def pair_up(layout: Layout) -> Pairs:
    """Find all images and masks. Raises DataError where a folder is missing or a name is there twice."""
    return Pairs(layout, _by_id(layout.images, IMAGE_ENDINGS, ""), _by_id(layout.masks, MASK_ENDINGS, layout.suffix))


def fractions(pairs: Pairs, split: Fractions) -> Ids:
    """Shuffle all pairs by the seed and cut. Every split that has a share gets a pair. Raises DataError."""
    ids = sorted({*pairs.images, *pairs.masks})
    pairs.require(ids, str(pairs.layout.images.parent))
    wanted = {"val": split.val, "test": split.test}
    counts = {name: max(1, round(share * len(ids))) if share else 0 for name, share in wanted.items()}
    if sum(counts.values()) >= len(ids):
        raise DataError(f"{pairs.layout.images}: {len(ids)} images are too few to be split in train, val and test")
    random.Random(split.seed).shuffle(ids)
    val, test = ids[: counts["val"]], ids[counts["val"] : sum(counts.values())]
    return _without_empty({"train": ids[sum(counts.values()) :], "val": val, "test": test})


def lists(pairs: Pairs, folder: Path) -> Ids:
    """The ids in train.txt, val.txt and, if it exists, test.txt. Raises DataError."""
    ids = {
        split: _listed(folder / f"{split}.txt") for split in SPLITS if split != "test" or (folder / "test.txt").exists()
    }
    for split, names in ids.items():
        pairs.require(names, str(folder / f"{split}.txt"))
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
        raise DataError(f"{path}: '{next(i for i in ids if ids.count(i) > 1)}' is listed twice")
    return ids


def _by_id(folder: Path, endings: Collection[str], suffix: str) -> Mapping[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. `images` and `masks` name the two folders below `root`")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if path.name.startswith(".") or path.suffix.lower() not in endings or not stem.endswith(suffix):
            continue  # "._a.png" is what macOS leaves beside a.png
        id_ = stem.removesuffix(suffix)
        if id_ in found:
            raise DataError(f"{path}: has the same name as {found[id_].name}; one image, one file")
        found[id_] = path
    if not found:
        raise DataError(f"{folder}: holds no file *{suffix} with one of the endings {', '.join(endings)}")
    return found


def _without_empty(ids: Ids) -> Ids:
    return {split: names for split, names in ids.items() if names}


def _some(names: Sequence[str]) -> str:
    """`3 names (a, b, c)`"""
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    return f"{len(names)} name{'s' if len(names) > 1 else ''} ({shown})"
