"""BDD100K semantic segmentation: 7,000 / 1,000 frames of 1280x720, the 19 trainable classes of Cityscapes and void.

    root/images/10k/SPLIT/ID.jpg  root/labels/sem_seg/masks/SPLIT/ID.png

Source: Yu et al., "BDD100K", CVPR 2020; layout from the bdd100k toolkit. Masks hold trainIds, which are those of
Cityscapes, and 255; the ids of BDD100K's own label table are others and occur in no mask. The 10k frames
overlap with the 100k ones of the drivable area without being a part of them, and nothing says that the splits agree: a
network that was trained on one set is not to be scored on the other. The test labels are not public.
"""

from __future__ import annotations

from segsweep.trainables.addresses import Root
from segsweep.trainables.components import VOID, Dataset, DatasetCard, Split
from segsweep.trainables.dataset_options import DatasetOptions
from segsweep.trainables.datasets._files import MaskCodes, existing_root, resolve_root
from segsweep.trainables.datasets._split_folders import split_folders
from segsweep.trainables.datasets._street_labels import TRAINABLE


class Options(DatasetOptions):
    """root: the folder with images/; a relative one is below $SEGSWEEP_DATA, else below the current folder."""

    root: str = "bdd100k"


def root(options: Options) -> Root:
    return resolve_root(options.root)


def describe(options: Options) -> DatasetCard:
    """Nothing is read."""
    return DatasetCard(tuple(label.name for label in TRAINABLE), tuple(label.color for label in TRAINABLE))


def build(options: Options) -> Dataset:
    """All frames of train and val. Raises DataError."""
    card = describe(options)
    remedy = "give `root` a folder whose labels/sem_seg/masks hold trainIds (0..18 and 255)"
    pairs = (*((index, index) for index in range(len(card.classes))), (255, VOID))
    codes = MaskCodes(card.classes, pairs, remedy=remedy)
    splits: tuple[Split, ...] = ("train", "val")
    places = {split: (f"images/10k/{split}/{{id}}.jpg", f"labels/sem_seg/masks/{split}/{{id}}.png") for split in splits}
    return Dataset(card, split_folders(existing_root(options.root), places, codes))
