"""COCO-Stuff 164k: 118,287 / 5,000 images, 171 classes (80 things, 91 stuff) and void.

    root/images/{train,val}2017/ID.jpg  root/annotations/{train,val}2017/ID.png

Source: Caesar, Uijlings, Ferrari, "COCO-Stuff: Thing and Stuff Classes in Context", CVPR 2018; the masks are those of
stuffthingmaps_trainval2017.zip. They hold the COCO category less 1, 0..181 with 11 values that never occur, and 255
for unlabelled; classes are numbered here in that order without the gaps. There is no test split with public labels.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from segsweep.trainables.addresses import Root
from segsweep.trainables.components import VOID, Dataset, DatasetCard, Split
from segsweep.trainables.dataset_options import DatasetOptions
from segsweep.trainables.datasets._files import MaskCodes, existing_root, resolve_root
from segsweep.trainables.datasets._palette import palette
from segsweep.trainables.datasets._split_folders import split_folders
from segsweep.trainables.datasets._tables import table

SPLIT_NAMES: tuple[Split, ...] = ("train", "val")


def _with_split(text: str) -> str:
    if "{split}" not in text:
        raise ValueError("must hold {split}, which stands for train and val")
    return text


class Options(DatasetOptions):
    """root: the folder that holds the other two; a relative one is below $SEGSWEEP_DATA, else the current folder."""

    root: str = "coco_stuff164k"
    images: Annotated[str, AfterValidator(_with_split)] = "images/{split}2017"
    masks: Annotated[str, AfterValidator(_with_split)] = "annotations/{split}2017"


def describe(options: Options) -> DatasetCard:
    """The 171 classes; the dataset brings no distinct colours, so they have Pascal VOC's."""
    named = [(value, name) for value, name in enumerate(table("_coco_stuff")["names"]) if name]
    pairs = (*((value, index) for index, (value, _) in enumerate(named)), (VOID, VOID))
    return DatasetCard(tuple(name for _, name in named), palette(len(named)), values=pairs)


def root(options: Options) -> Root:
    return resolve_root(options.root)


def build(options: Options) -> Dataset:
    """All pairs of both splits, or of the one that is there. Raises DataError."""
    card = describe(options)
    remedy = "give `masks` the folder of stuffthingmaps, not of another COCO task"
    codes = MaskCodes(card.classes, card.values, remedy=remedy)
    places = {
        split: (
            f"{options.images.replace('{split}', split)}/{{id}}.jpg",
            f"{options.masks.replace('{split}', split)}/{{id}}.png",
        )
        for split in SPLIT_NAMES
    }
    return Dataset(card, split_folders(existing_root(options.root), places, codes, not_masks="_labelTrainIds"))
