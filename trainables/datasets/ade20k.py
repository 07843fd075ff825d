"""ADE20K as the scene-parsing benchmark has it (SceneParse150): 20,210 / 2,000 images, 150 classes and void.

    root/images/{training,validation}/NAME.jpg  root/annotations/{training,validation}/NAME.png

Source: Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017. Masks hold 0 for whatever is none of the 150
classes, which is void here, and k for class k-1. Test labels are not public, so there is no test split.
"""

from __future__ import annotations

from segsweep.trainables.addresses import Root
from segsweep.trainables.components import VOID, Dataset, DatasetCard, Split
from segsweep.trainables.dataset_options import DatasetOptions
from segsweep.trainables.datasets._files import MaskCodes, existing_root, resolve_root
from segsweep.trainables.datasets._split_folders import split_folders
from segsweep.trainables.datasets._tables import table


class Options(DatasetOptions):
    """root: the folder with images/ and annotations/; a relative one is below $SEGSWEEP_DATA, else the current one."""

    root: str = "ADEChallengeData2016"


def describe(options: Options) -> DatasetCard:
    """The 150 classes, each by the first of its names."""
    known = table("_ade20k")
    names, colors = tuple(known["names"]), tuple((red, green, blue) for red, green, blue in known["colors"])
    return DatasetCard(names, colors, values=((0, VOID), *((index + 1, index) for index in range(len(names)))))


def root(options: Options) -> Root:
    return resolve_root(options.root)


def build(options: Options) -> Dataset:
    """All pairs of both splits, or of the one that is there. Raises DataError."""
    card = describe(options)
    remedy = "give `root` the folder of SceneParse150, not of the full ADE20K"
    codes = MaskCodes(card.classes, card.values, remedy=remedy)
    folders: dict[Split, str] = {"train": "training", "val": "validation"}
    places = {split: (f"images/{name}/{{id}}.jpg", f"annotations/{name}/{{id}}.png") for split, name in folders.items()}
    return Dataset(card, split_folders(existing_root(options.root), places, codes))
