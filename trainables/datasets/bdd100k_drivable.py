"""BDD100K drivable area: 70,000 / 10,000 frames of 1280x720; the lane one may drive on, lanes one might, all else.

    root/images/100k/SPLIT/ID.jpg
    root/labels/drivable/masks/SPLIT/ID.png              masks_2020: 0 direct, 1 alternative, 2 background
    root/drivable_maps/labels/SPLIT/ID_drivable_id.png   maps_2018: 0 background, 1 direct, 2 alternative

Source: Yu et al., "BDD100K", CVPR 2020; layout and scores from the bdd100k toolkit. The test labels are not public.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from segsweep.trainables.addresses import Root, absence
from segsweep.trainables.components import DataError, Dataset, DatasetCard, Pair, Sample, Split
from segsweep.trainables.dataset_options import DatasetOptions
from segsweep.trainables.datasets._files import MaskCodes, existing_root, resolve_root
from segsweep.trainables.datasets._split_folders import split_folders

logger = logging.getLogger(__name__)

CLASSES = {"direct": (219, 94, 86), "alternative": (86, 211, 219), "background": (0, 0, 0)}
DIRECT, ALTERNATIVE, BACKGROUND = range(3)
IMAGES = "images/100k/{split}/{{id}}.jpg"

Encoding = Literal["masks_2020", "maps_2018"]


class Release(NamedTuple):
    folder: str
    masks: str  # below the folder
    values: tuple[int, int, int]  # the class that 0, 1 and 2 stand for


RELEASES: dict[Encoding, Release] = {
    "masks_2020": Release("labels/drivable/masks", "{split}/{{id}}.png", (DIRECT, ALTERNATIVE, BACKGROUND)),
    "maps_2018": Release("drivable_maps/labels", "{split}/{{id}}_drivable_id.png", (BACKGROUND, DIRECT, ALTERNATIVE)),
}


class Options(DatasetOptions):
    """root: the folder with images/; a relative one is below $SEGSWEEP_DATA, else below the current folder.

    encoding: the two releases permute the values, and no mask says which it is of. `auto` takes the release whose
    folder is there, and refuses to choose where both are.

    score: three classes are learned in any case. `two_class` is the official score, that of the leaderboard and the
    model zoo: means over direct and alternative, where pixels whose truth is background do not count; the mean IoU of
    all three is then reported as val_miou_all_classes. `three_class` makes that one val_miou. The two do not compare.
    """

    root: str = "bdd100k"
    encoding: Literal["auto", "masks_2020", "maps_2018"] = "auto"
    score: Literal["two_class", "three_class"] = "two_class"


def root(options: Options) -> Root:
    return resolve_root(options.root)


def describe(options: Options) -> DatasetCard:
    """Nothing is read; where the encoding is to be found and no folder is there, the values are those of 2020."""
    scored = (DIRECT, ALTERNATIVE) if options.score == "two_class" else None
    encoding: Encoding = "masks_2020"
    with suppress(DataError):
        encoding = _found(resolve_root(options.root)) if options.encoding == "auto" else options.encoding
    return DatasetCard(tuple(CLASSES), tuple(CLASSES.values()), scored, tuple(enumerate(RELEASES[encoding].values)))


def build(options: Options) -> Dataset:
    """All frames of train and val. Raises DataError."""
    folder = existing_root(options.root)
    encoding = _found(folder) if options.encoding == "auto" else options.encoding
    release = RELEASES[encoding]
    remedy = "give `root` a folder with the masks of the drivable area, not with their colormaps"
    codes = MaskCodes(tuple(CLASSES), tuple(enumerate(release.values)), remedy=remedy)
    splits: tuple[Split, ...] = ("train", "val")
    masks = f"{release.folder}/{release.masks}"
    places = {split: (IMAGES.format(split=split), masks.format(split=split)) for split in splits}
    found = split_folders(folder, places, codes).items()
    return Dataset(
        describe(options),
        {split: [_checked(one, encoding, folder / places[split][1]) for one in samples] for split, samples in found},
    )


def _found(folder: Root) -> Encoding:
    """By the folders that are there and never by values: of a single mask, those prove nothing."""
    there = [encoding for encoding, release in RELEASES.items() if not absence(folder / release.folder)]
    if len(there) != 1:
        new, old = (f"{release.folder} ({encoding})" for encoding, release in RELEASES.items())
        problem = f"holds both {new} and {old}" if there else f"holds neither {new} nor {old}"
        remedy = "say which to read: `encoding: masks_2020` or `encoding: maps_2018`" if there else "put one there"
        raise DataError(f"{folder}: {problem}; {remedy}")
    logger.info("%s: encoding %s, as %s is there", folder, there[0], RELEASES[there[0]].folder)
    return there[0]


def _checked(sample: Sample, encoding: Encoding, masks: Path) -> Sample:
    place = str(masks).replace("{id}", sample.id)
    return replace(sample, stamp=f"{sample.stamp} {encoding}", read=partial(_read, sample.read, encoding, place))


def _read(read: Callable[[], Pair], encoding: Encoding, place: str) -> Pair:
    """The pair, unless its mask shows that it is of the other release: what fills the sky is background."""
    import numpy as np

    pair = read()
    top = np.unique(pair.label[0])
    if top.size == 1 and top[0] != BACKGROUND and np.mean(pair.label == top[0]) > 0.5:
        other = next(name for name in RELEASES if name != encoding)
        raise DataError(
            f"{place}: read as {encoding}, everything up to the top row is {tuple(CLASSES)[top[0]]}. If the masks are "
            f"those of the other release, give `encoding: {other}` and put them into {RELEASES[other].folder}",
            "values",
        )
    return pair
