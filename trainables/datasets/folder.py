"""Your own data: images with one mask each, matched by their id, and a list of classes.

    root/images/a.jpg  root/masks/a.png  root/classes.json  root/splits/{train,val,test}.txt

Other layouts are described by templates: `images: "{split}/images/{id}.jpg"`, `masks: "{split}/masks/{id}_mask.png"`.
An id is what stands for {id}, with train/, val/ or test/ before it where {split} is in the templates. Without {split},
splits come from lists of ids (one a line) or from fractions and a seed.

Masks hold one value per pixel: PNG of mode L, P or 16 bits, or a .npy of (H, W). The value is the class index, or what
`values` maps to one, or with `reduce_zero_label` 0 for void and k for class k-1; RGB masks need `colors`. classes.json
holds `names` and, if some value means void, `ignore_index`; an id2label.json will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from segsweep.trainables.addresses import Root
from segsweep.trainables.components import (
    SPLITS,
    Dataset,
    DatasetCard,
    Sample,
    Split,
)
from segsweep.trainables.datasets._classes import check_names, read_classes
from segsweep.trainables.datasets._files import MaskCodes, existing_root, file_below, file_sample, resolve_root
from segsweep.trainables.datasets._groups import GroupOptions, group_of
from segsweep.trainables.datasets._pairing import Fractions, Layout, Pairs, fractions, lists, pair_up
from segsweep.trainables.datasets._palette import palette
from segsweep.trainables.datasets._problems import of_each
from segsweep.trainables.datasets._values import ValueOptions, value_codes

Channel = Annotated[int, Field(ge=0, le=255)]
ColorOption = tuple[Channel, Channel, Channel]


class Options(ValueOptions):
    """What lies where below `root`, and what the values in the masks mean."""

    root: str  # a relative one is below $SEGSWEEP_DATA, else below the current folder
    images: str = "images"  # a folder, or a template with {id} and perhaps {split}
    masks: str = "masks"
    mask_suffix: str = ""  # "_mask": the mask of a.jpg is a_mask.png; where `masks` is a folder
    split_names: dict[Split, str] = {}  # what {split} stands for, where it is not train, val and test
    classes: Annotated[tuple[str, ...], Field(min_length=2)] | str = (
        "classes.json"  # names, or a .json or .txt below root
    )
    colors: Annotated[dict[str, ColorOption], Field(min_length=2)] | None = None  # RGB masks: {road: [128, 64, 128]}
    ignore_colors: tuple[ColorOption, ...] = ()
    lists: str = "splits"  # the folder of train.txt, val.txt and, if there is one, test.txt
    split: Fractions | None = None  # instead of lists: {train: 0.7, val: 0.15, test: 0.15, seed: 0}
    group: GroupOptions | None = None  # who a sample belongs with: {pattern: "^(.+?)_"} or {file: a.csv, column: b}

    @model_validator(mode="after")
    def _colors_are_unambiguous(self) -> Self:
        if self.ignore_colors and self.colors is None:
            raise ValueError("`ignore_colors` is for colour masks; give `colors: {NAME: [R, G, B], ...}` as well")
        if self.colors is None:
            return self
        others = {"values", "reduce_zero_label", "ignore", "classes"} & self.model_fields_set
        if others:
            raise ValueError(f"`colors` names the classes and what they look like, so `{min(others)}` cannot be given")
        meanings = [*self.colors.values(), *self.ignore_colors]
        if twice := next((color for color in meanings if meanings.count(color) > 1), None):
            raise ValueError(f"colour {list(twice)} is there twice in `colors` and `ignore_colors`")
        return self

    @model_validator(mode="after")
    def _templates_fit(self) -> Self:
        by_split = ["{split}" in template for template in (self.images, self.masks)]
        if any(by_split) and not all(by_split):
            raise ValueError("`images` and `masks` both need {split}, or neither")
        if any(by_split) and ({"split", "lists"} & self.model_fields_set):
            raise ValueError("{split} in `images` and `masks` makes the splits, so `split` and `lists` cannot be given")
        if self.split_names and not any(by_split):
            raise ValueError("`split_names` says what {split} stands for, but no {split} is in `images` and `masks`")
        if self.mask_suffix and "{id}" in self.masks:
            raise ValueError("`mask_suffix` is for a plain folder; write it into the template behind {id}")
        return self


def root(options: Options) -> Root:
    return resolve_root(options.root)


def describe(options: Options) -> DatasetCard:
    """Classes from the options or the class file. Raises DataError."""
    codes = _codes(options)
    colors = palette(len(codes.classes)) if options.colors is None else tuple(options.colors.values())
    return DatasetCard(codes.classes, colors, values=codes.values)


def build(options: Options) -> Dataset:
    """Pair images with masks and split them. Raises DataError."""
    folder, codes = existing_root(options.root), _codes(options)
    group = group_of(options.group, folder)

    def samples(pairs: Pairs, chosen: Sequence[str], prefix: str = "") -> Sequence[Sample]:
        return [file_sample(prefix + id_, *pairs.files(id_), codes, group(prefix + id_)) for id_ in chosen]

    if "{split}" in options.images:
        by_split = _pairs_by_split(options, folder)
        found = of_each(by_split, lambda split: samples(by_split[split], by_split[split].complete(), f"{split}/"))
    else:
        pairs = pair_up(Layout.of(folder, options.images, options.masks, options.mask_suffix))
        ids = fractions(pairs, options.split) if options.split else lists(pairs, folder / options.lists)
        found = {split: samples(pairs, chosen) for split, chosen in ids.items()}
    return Dataset(describe(options), found)


def _pairs_by_split(options: Options, folder: Path) -> Mapping[Split, Pairs]:
    """A test split is welcome, the others are needed."""
    found = {}
    for split in SPLITS:
        name = options.split_names.get(split, split)
        images, masks = (template.replace("{split}", name) for template in (options.images, options.masks))
        layout = Layout.of(folder, images, masks, options.mask_suffix)
        if split != "test" or layout.images.folder.is_dir() or layout.masks.folder.is_dir():
            found[split] = pair_up(layout)
    return found


def _codes(options: Options) -> MaskCodes:
    if options.colors is not None:
        check_names(tuple(options.colors))
        return MaskCodes.of_colors(options.colors, options.ignore_colors)
    return value_codes(options, *_names(options))


def _names(options: Options) -> tuple[tuple[str, ...], int | None]:
    """The classes and the class file's value for void."""
    if not isinstance(options.classes, str):
        return options.classes, None
    read = read_classes(file_below(options.root, options.classes))
    return read.names, read.ignore_index
