"""Oxford-IIIT Pet: 7,349 photos of cats and dogs of 37 breeds, a trimap each (pet, background, border).

    root/images/NAME.jpg  root/annotations/trimaps/NAME.png  root/annotations/{trainval,test}.txt

Source: Parkhi, Vedaldi, Zisserman, Jawahar, "Cats and Dogs", CVPR 2012. Official lists: trainval 3,680, test 3,669.
Validation is every tenth line of trainval.txt, from the first on, as segmentation_models.pytorch draws it. Only what
the lists name is read, since the archives hold other files beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from segsweep.trainables.addresses import Root
from segsweep.trainables.components import VOID, DataError, Dataset, DatasetCard, Sample
from segsweep.trainables.dataset_options import DatasetOptions
from segsweep.trainables.datasets._files import MaskCodes, existing_root, file_sample, resolve_root
from segsweep.trainables.datasets._lists import listed
from segsweep.trainables.datasets._palette import palette
from segsweep.trainables.datasets._problems import of_each

BREEDS = (
    *("Abyssinian", "American Bulldog", "American Pit Bull Terrier", "Basset Hound", "Beagle", "Bengal", "Birman"),
    *("Bombay", "Boxer", "British Shorthair", "Chihuahua", "Egyptian Mau", "English Cocker Spaniel", "English Setter"),
    *("German Shorthaired", "Great Pyrenees", "Havanese", "Japanese Chin", "Keeshond", "Leonberger", "Maine Coon"),
    *("Miniature Pinscher", "Newfoundland", "Persian", "Pomeranian", "Pug", "Ragdoll", "Russian Blue"),
    *("Saint Bernard", "Samoyed", "Scottish Terrier", "Shiba Inu", "Siamese", "Sphynx", "Staffordshire Bull Terrier"),
    *("Wheaten Terrier", "Yorkshire Terrier"),
)
"""In the order of the lists' class ids, which begin with 1."""
PET, BACKGROUND, BORDER = 1, 2, 3  # the trimaps' values

Classes = Literal["border_as_pet", "border_ignored", "trimap", "breeds"]


class Options(DatasetOptions):
    """root: the folder with images/ and annotations/; a relative one is below $SEGSWEEP_DATA, else the current folder.

    classes: border_as_pet and border_ignored have background and pet, trimap has pet, background and border (the
    trimaps' values less 1), breeds has background and 37 breeds, the border being part of the animal.
    """

    root: str = "oxford-iiit-pet"
    classes: Classes = "border_as_pet"


def root(options: Options) -> Root:
    return resolve_root(options.root)


def describe(options: Options) -> DatasetCard:
    """Masks know no breeds: where these are the classes, no value stands for one."""
    codes = _codes(options.classes, 1)
    values = () if options.classes == "breeds" else codes.values
    return DatasetCard(codes.classes, palette(len(codes.classes)), values=values)


def build(options: Options) -> Dataset:
    """The samples that trainval.txt and test.txt name. Raises DataError."""
    folder = existing_root(options.root)
    codes = [_codes(options.classes, breed) for breed in range(1, len(BREEDS) + 1)]
    sample = partial(_sample, folder, codes)
    lists, example = folder / "annotations", "Abyssinian_100 1 1 1"
    found = of_each(("trainval", "test"), lambda name: listed(lists / f"{name}.txt", sample, example))
    train = [one for place, one in enumerate(found["trainval"]) if place % 10]
    return Dataset(describe(options), {"train": train, "val": found["trainval"][::10], "test": found["test"]})


def _codes(classes: Classes, breed: int) -> MaskCodes:
    names, values = {
        "border_as_pet": (("background", "pet"), {PET: 1, BACKGROUND: 0, BORDER: 1}),
        "border_ignored": (("background", "pet"), {PET: 1, BACKGROUND: 0, BORDER: VOID}),
        "trimap": (("pet", "background", "border"), {PET: 0, BACKGROUND: 1, BORDER: 2}),
        "breeds": (("background", *BREEDS), {PET: breed, BACKGROUND: 0, BORDER: breed}),
    }[classes]
    remedy = "give `root` the folder whose annotations/trimaps hold the official trimaps"
    return MaskCodes(names, tuple(sorted(values.items())), remedy=remedy)


def _sample(folder: Path, codes: Sequence[MaskCodes], words: Sequence[str]) -> Sample:
    breeds = {str(number): code for number, code in enumerate(codes, start=1)}
    if len(words) != 4 or words[1] not in breeds:
        raise DataError(f"'{' '.join(words)}' is not 'NAME CLASS SPECIES BREED' with a class of 1..{len(BREEDS)}")
    name = words[0]
    trimap = folder / "annotations" / "trimaps" / f"{name}.png"
    return file_sample(name, folder / "images" / f"{name}.jpg", trimap, breeds[words[1]])
