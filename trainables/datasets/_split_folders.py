"""Datasets with one folder of images and one of masks for each split, where a mask is named like its image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from segsweep.trainables.components import DataError, Sample, Split
from segsweep.trainables.datasets._files import MaskCodes, file_sample
from segsweep.trainables.datasets._pairing import Layout, pair_up
from segsweep.trainables.datasets._problems import of_each

Places = Mapping[Split, tuple[str, str]]  # folder of images and folder of masks, or templates with {id}, below the root


def split_folders(root: Path, places: Places, codes: MaskCodes, not_masks: str = "") -> dict[Split, list[Sample]]:
    """All pairs of every split. A split with neither folder is left out: many keep the validation images alone.

    not_masks: how the names of files end that other tools write beside the masks.
    Raises DataError for unpaired files, and where no split is there.
    """
    layouts = {split: Layout.of(root, *place) for split, place in places.items()}
    there = {split: one for split, one in layouts.items() if one.images.folder.is_dir() or one.masks.folder.is_dir()}
    if not there:
        expected = ", ".join(str(template.folder) for one in layouts.values() for template in (one.images, one.masks))
        raise DataError(f"{root}: holds no split; none of these folders is there: {expected}")
    return of_each(there, lambda split: _samples(there[split], codes, not_masks))


def _samples(layout: Layout, codes: MaskCodes, not_masks: str) -> list[Sample]:
    found = pair_up(layout)
    masks = {id_: path for id_, path in found.masks.items() if not (not_masks and id_.endswith(not_masks))}
    pairs = replace(found, masks=masks)
    return [file_sample(id_, *pairs.files(id_), codes) for id_ in pairs.complete()]
