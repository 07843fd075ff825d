"""Cityscapes with fine labels: 2,975 / 500 frames of 2048x1024 from 21 cities, 19 classes or 7 or 8 categories.

    root/leftImg8bit/SPLIT/CITY/FRAME_leftImg8bit.png  root/gtFine/SPLIT/CITY/FRAME_gtFine_labelIds.png

Source: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016; cityscapesScripts.
The test frames are left out: what is published as their labels is void. A sample's group is its city.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from segsweep.trainables.addresses import Root
from segsweep.trainables.components import VOID, Color, DataError, Dataset, DatasetCard, Sample, Split
from segsweep.trainables.dataset_options import DatasetOptions
from segsweep.trainables.datasets._files import MaskCodes, existing_root, resolve_root
from segsweep.trainables.datasets._split_folders import split_folders
from segsweep.trainables.datasets._street_labels import LABELS, TRAINABLE, Label

CATEGORIES: Mapping[str, Color] = {  # the official table has no colours for them: each has that of one of its classes
    "flat": (128, 64, 128),
    "construction": (70, 70, 70),
    "object": (220, 220, 0),
    "nature": (107, 142, 35),
    "sky": (70, 130, 180),
    "human": (220, 20, 60),
    "vehicle": (0, 0, 142),
}
MASKS = {"ids": "labelIds", "train_ids": "labelTrainIds"}
HELD_OUT = 0.075  # share of validation, and of test, in the re-split


class Options(DatasetOptions):
    """root: the folder with leftImg8bit/ and gtFine/; a relative one is below $SEGSWEEP_DATA, else the current folder.

    labels: which masks are read. `ids` (0..33) are what is published; `train_ids` (0..18 and 255) have to be made by
    createTrainIdLabelImgs of cityscapesScripts. Files that hold values of the other kind are refused.

    classes: `trainable` are the 19 that are scored. `categories` are the 7 official ones: labels that are not scored,
    such as parking, are void there. `categories_with_void` are 8: every label of 0..33 counts, and void is class 0.

    split: `official`, or `resplit_2953_261_261`, which pools train and val, shuffles them by seed 0 and holds out
    7.5 % each to validate and to test: 2,953 / 261 / 261 frames of Cityscapes. Cities are then on both sides.
    """

    root: str = "cityscapes"
    labels: Literal["ids", "train_ids"] = "ids"
    classes: Literal["trainable", "categories", "categories_with_void"] = "trainable"
    split: Literal["official", "resplit_2953_261_261"] = "official"

    @model_validator(mode="after")
    def _void_is_known(self) -> Self:
        if self.labels == "train_ids" and self.classes == "categories_with_void":
            raise ValueError(
                "`categories_with_void` needs `labels: ids`: in trainIds, parking and guard rails are 255 as void is"
            )
        return self


def root(options: Options) -> Root:
    return resolve_root(options.root)


def describe(options: Options) -> DatasetCard:
    """Nothing is read."""
    colors = _colors(options)
    return DatasetCard(tuple(colors), tuple(colors.values()), values=_codes(options).values)


def build(options: Options) -> Dataset:
    """All frames of train and val, sorted by city and name. Raises DataError."""
    folder = existing_root(options.root)
    _check_kind(folder, options)
    mask = f"{{id}}_gtFine_{MASKS[options.labels]}.png"
    splits: tuple[Split, ...] = ("train", "val")
    places = {name: (f"leftImg8bit/{name}/{{id}}_leftImg8bit.png", f"gtFine/{name}/{mask}") for name in splits}
    found: Mapping[Split, Sequence[Sample]] = {
        split: [replace(sample, group=sample.id.rpartition("/")[0]) for sample in samples]
        for split, samples in split_folders(folder, places, _codes(options)).items()
    }
    return Dataset(describe(options), found if options.split == "official" else _resplit(folder, found))


def _colors(options: Options) -> Mapping[str, Color]:
    """Of the classes, in their order."""
    match options.classes:
        case "trainable":
            return {label.name: label.color for label in TRAINABLE}
        case "categories":
            return CATEGORIES
        case "categories_with_void":
            return {"void": (0, 0, 0), **CATEGORIES}


def _codes(options: Options) -> MaskCodes:
    """License plates (-1) have no value: 255 in a file of ids is no label and shows that it holds trainIds."""
    classes = tuple(_colors(options))
    if options.labels == "ids":
        values = {label.id: _class(label, options, classes) for label in LABELS if label.id >= 0}
        remedy = "masks with 255 hold trainIds: give `labels: train_ids` for them, or put labelIds in their place"
    else:
        values = {index: _class(label, options, classes) for index, label in enumerate(TRAINABLE)} | {255: VOID}
        remedy = "masks with 19..33 hold ids: give `labels: ids` for them, or put trainIds in their place"
    return MaskCodes(classes, tuple(sorted(values.items())), remedy=remedy)


def _class(label: Label, options: Options, classes: Sequence[str]) -> int:
    if options.classes == "categories_with_void":
        return classes.index(label.category)
    if label.ignored:
        return VOID
    return classes.index(label.name if options.classes == "trainable" else label.category)


def _check_kind(folder: Path, options: Options) -> None:
    """Refuse a gtFine/ that holds the other kind of masks only."""
    chosen, other = sorted(MASKS, key=lambda kind: kind != options.labels)
    there = {kind: next((folder / "gtFine").glob(f"*/*/*_gtFine_{MASKS[kind]}.png"), None) for kind in MASKS}
    if there[chosen] is None and there[other] is not None:
        raise DataError(
            f"{folder / 'gtFine'}: holds no *_{MASKS[chosen]}.png, but *_{MASKS[other]}.png, such as {there[other]}. "
            f"Give `labels: {other}`, or make the others by cityscapesScripts"
        )


def _resplit(folder: Path, splits: Mapping[Split, Sequence[Sample]]) -> Mapping[Split, Sequence[Sample]]:
    by_id = attrgetter("id")
    pool = sorted(itertools.chain(*splits.values()), key=by_id)
    if len(splits) < 2:
        raise DataError(
            f"{folder}: the re-split pools train and val, but only {', '.join(splits)} is there; add the other"
        )
    if twice := next((a.id for a, b in itertools.pairwise(pool) if a.id == b.id), None):
        raise DataError(f"{folder}: frame {twice} is in train and in val; take one of them out")
    random.Random(0).shuffle(pool)
    held = max(1, round(HELD_OUT * len(pool)))
    cut: Mapping[Split, Sequence[Sample]] = {
        "train": pool[2 * held :],
        "val": pool[:held],
        "test": pool[held : 2 * held],
    }
    return {split: sorted(samples, key=by_id) for split, samples in cut.items()}
