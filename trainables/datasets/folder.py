"""Your own data: images/ and masks/ with one mask per image, matched by name, and a list of classes.

    root/images/a.jpg  root/masks/a.png  root/classes.json  root/splits/{train,val,test}.txt

Masks hold one value per pixel (PNG of mode L or P): the class index, or whatever `values` maps to one. classes.json
holds `names` and, if some value means void, `ignore_index`. Splits come from lists of ids (one a line, an id is the
path below images/ without its ending) or from fractions and a seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from segsweep.trainables.components import VOID, ComponentOptions, DataError, Dataset, DatasetCard, Sample
from segsweep.trainables.datasets._files import MaskCodes, existing_root, file_sample, resolve_root
from segsweep.trainables.datasets._pairing import Fractions, Layout, fractions, lists, pair_up
from segsweep.trainables.datasets._palette import palette

Raw = Annotated[int, Field(ge=0, le=65535)]  # a value in a mask file of 8 or 16 bits


class Options(ComponentOptions):
    """What lies where below `root`, and what the values in the masks mean."""

    root: str  # a relative one is below $SEGSWEEP_DATA, else below the current folder
    images: str = "images"
    masks: str = "masks"
    mask_suffix: str = ""  # "_mask": the mask of a.jpg is a_mask.png
    classes: Annotated[tuple[str, ...], Field(min_length=2)] | str = (
        "classes.json"  # names, or a .json or .txt below root
    )
    values: dict[Raw, Annotated[int, Field(ge=0, lt=VOID)]] | None = None  # raw value -> class index; {0: 0, 255: 1}
    ignore: tuple[Raw, ...] = ()  # raw values that are void, besides the class file's own ignore_index
    lists: str = "splits"  # the folder of train.txt, val.txt and, if there is one, test.txt
    split: Fractions | None = None  # instead of lists: {train: 0.7, val: 0.15, test: 0.15, seed: 0}

    @model_validator(mode="after")
    def _values_are_unambiguous(self) -> Self:
        if both := sorted({*self.ignore} & {*(self.values or {})}):
            raise ValueError(f"raw value {both[0]} is in `values` and in `ignore`: it is a class or void, not both")
        return self


class ClassFile(BaseModel):
    """classes.json; other keys are the owner's business."""

    model_config = ConfigDict(frozen=True)
    names: Annotated[tuple[str, ...], Field(min_length=2)]
    ignore_index: Raw | None = None


def root(options: Options) -> Path:
    return resolve_root(options.root)


def describe(options: Options) -> DatasetCard:
    """Classes from the options or the class file. Raises DataError."""
    classes = _codes(options).classes
    return DatasetCard(classes, palette(len(classes)))


def build(options: Options) -> Dataset:
    """Pair images with masks and split them. Raises DataError."""
    folder, codes = existing_root(options.root), _codes(options)
    pairs = pair_up(Layout.of(folder, options.images, options.masks, options.mask_suffix))
    ids = fractions(pairs, options.split) if options.split else lists(pairs, folder / options.lists)

    def samples(chosen: Sequence[str]) -> Sequence[Sample]:
        return [file_sample(id_, *pairs.files(id_), codes) for id_ in chosen]

    return Dataset(describe(options), {split: samples(chosen) for split, chosen in ids.items()})


def _codes(options: Options) -> MaskCodes:
    names, void = (options.classes, None) if not isinstance(options.classes, str) else _read_classes(options)
    _check_names(names, options.values or {})
    ignore = [*options.ignore, *([] if void is None or void in (options.values or {}) else [void])]
    return MaskCodes.of(names, ignore, options.values)


def _check_names(names: Sequence[str], values: Mapping[int, int]) -> None:
    if not 2 <= len(names) <= VOID:
        raise DataError(f"`classes` are {len(names)}, but must be 2..{VOID}; the background counts, void does not")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"class {twice[0]!r} is named twice; every class needs a name of its own")
    if beyond := sorted(index for index in values.values() if index >= len(names)):
        raise DataError(f"`values` maps to class {beyond[0]}, but the {len(names)} classes are 0..{len(names) - 1}")


def _read_classes(options: Options) -> tuple[tuple[str, ...], int | None]:
    """Names and the void value from the class file. Raises DataError."""
    path = existing_root(options.root) / str(options.classes)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: {getattr(error, 'strerror', None) or error}. "
            'Write {"names": [...]} there, or give `classes: [...]`'
        ) from None
    if path.suffix == ".txt":
        return tuple(line.strip() for line in text.splitlines() if line.strip()), None
    try:
        read = ClassFile.model_validate_json(text)
    except ValidationError as error:
        why = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors())
        raise DataError(f'{path}: {why}. Write {{"names": ["background", ...], "ignore_index": 255 or null}}') from None
    return read.names, read.ignore_index
