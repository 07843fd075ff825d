"""Pascal VOC 2012 segmentation: 1,464 / 1,449 images, background and 20 classes, void along the objects' borders.

    root/JPEGImages/ID.jpg  root/SegmentationClass/ID.png  root/ImageSets/Segmentation/{train,val,trainaug}.txt

Source: Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective", IJCV 2015. Masks are palette
images, read as their indices. `train_list: trainaug` adds the 9,118 images that the Semantic Boundaries Dataset
(Hariharan et al., ICCV 2011) labels: 10,582 in all, listed in trainaug.txt, their masks as PNG in
SegmentationClassAug/. The labels of the test images are not public, so there is no test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from segsweep.trainables.addresses import Root
from segsweep.trainables.components import VOID, DataError, Dataset, DatasetCard, Sample
from segsweep.trainables.dataset_options import DatasetOptions
from segsweep.trainables.datasets._files import MaskCodes, existing_root, file_sample, resolve_root
from segsweep.trainables.datasets._lists import listed
from segsweep.trainables.datasets._palette import palette
from segsweep.trainables.datasets._problems import of_each

CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
MASKS = "SegmentationClass"
AUGMENTED = "SegmentationClassAug"


class Options(DatasetOptions):
    """root: the folder with JPEGImages/; a relative one is below $SEGSWEEP_DATA, else below the current folder."""

    root: str = "VOCdevkit/VOC2012"
    train_list: Literal["train", "trainaug"] = "train"


def describe(options: Options) -> DatasetCard:
    return DatasetCard(CLASSES, palette(len(CLASSES)))


def root(options: Options) -> Root:
    return resolve_root(options.root)


def build(options: Options) -> Dataset:
    """The samples that the two lists name. Raises DataError."""
    folder = existing_root(options.root)
    masks = (AUGMENTED, MASKS) if options.train_list == "trainaug" else (MASKS,)
    names = {"train": options.train_list, "val": "val"}
    folders = {"train": masks, "val": (MASKS,)}
    train, val = of_each(names, lambda split: _listed(folder, names[split], folders[split])).values()
    if both := sorted({one.id for one in train} & {one.id for one in val}):
        raise DataError(
            f"{folder}: '{both[0]}' is in {options.train_list}.txt and in val.txt, {len(both)} images in all; "
            "take the validation images out of the train list, or scores would be of trained images"
        )
    return Dataset(describe(options), {"train": train, "val": val})


def _listed(folder: Path, name: str, masks: Sequence[str]) -> Sequence[Sample]:
    path = folder / "ImageSets" / "Segmentation" / f"{name}.txt"
    return listed(path, partial(_sample, folder, masks), "2007_000032")


def _sample(folder: Path, masks: Sequence[str], words: Sequence[str]) -> Sample:
    """masks: folders in the order in which they are looked through."""
    id_ = PurePosixPath(words[0]).stem  # some lists name /JPEGImages/ID.jpg and /SegmentationClassAug/ID.png
    places = [folder / name / f"{id_}.png" for name in masks]
    mask = next((place for place in places if place.is_file()), places[0])
    codes = MaskCodes.of(CLASSES, ignore=[VOID])
    return file_sample(id_, folder / "JPEGImages" / f"{id_}.jpg", mask, codes)
