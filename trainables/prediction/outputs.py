"""What is made of an image and its labels: a mask, pictures, and what they are worth against a truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from segsweep.trainables.components import VOID, DataError, DatasetCard
from segsweep.trainables.prediction.dense_crf import DenseCrf
from segsweep.trainables.prediction.explanations import Explanation, Heat, heated
from segsweep.trainables.prediction.masks import Truth, Values, only, submission_name
from segsweep.trainables.prediction.pictures import error_map, overlay, side_by_side, with_legend
from segsweep.trainables.prediction.sources import Region, Source
from segsweep.trainables.scoring.metrics import confusion_matrix

if TYPE_CHECKING:
    from segsweep.trainables.components import Uint8

JPEG_QUALITY = 92


@dataclass(frozen=True)
class Wanted:
    """What is to be made of images and videos."""

    folder: Path
    values: Values
    classes: tuple[int, ...]  # that are shown; pixels of others are VOID in masks, and bare in pictures
    submission: bool = False  # names as Cityscapes' scorer wants them
    region: Region | None = None  # what the network sees of an image; the rest is VOID
    crf: DenseCrf | None = None  # that labels are refined by
    fewest: int = 0  # pixels of a segment that stays
    overlay: bool = False
    side_by_side: bool = False
    alpha: float = 0.6  # of the colours in an overlay
    truth: Truth | None = None
    explanations: Mapping[str, Explanation] = field(default_factory=dict)  # by the names of their folders
    pixel: tuple[int, int] | None = None  # x, y in the whole image, that explanations start from


class Predicted(NamedTuple):
    source: Source
    image: Uint8
    labels: Uint8  # of the image's size
    heats: Mapping[str, Heat] = {}  # of the explanations that are wanted
    problem: str = ""  # why there are none


class Done(NamedTuple):
    """What became of one image or video."""

    source: Source
    files: tuple[Path, ...] = ()
    problem: str = ""
    confusion: torch.Tensor | None = None  # (C, C) int64, where there is a truth


def files_of(it: Predicted, card: DatasetCard, wanted: Wanted) -> Done:
    """Everything that is wanted of an image, written. Raises OSError."""
    name, shown, problems = it.source.name, only(it.labels, wanted.classes), [it.problem]
    files, confusion = [], None
    try:
        path = wanted.folder / "masks" / f"{submission_name(name) if wanted.submission else name}.png"
        wanted.values.save(shown, path)
        files.append(path)
    except DataError as error:
        problems.append(str(error))
    pictures = _pictures(it, shown, card, wanted)
    if wanted.truth is not None:
        try:
            if (mask := wanted.truth.of(name, it.labels.shape, card)) is not None:
                truth = np.where(it.labels == VOID, np.uint8(VOID), mask)
                confusion = _confusion(it.labels, truth, len(card.classes))
                pictures["errors"] = error_map(it.image, it.labels, truth)
        except DataError as error:
            problems.append(str(error))
    files += [_save(picture, wanted.folder / kind / f"{name}.jpg") for kind, picture in pictures.items()]
    return Done(it.source, tuple(files), "; ".join(filter(None, problems)), confusion)


def film_pictures(it: Predicted, card: DatasetCard, wanted: Wanted) -> dict[str, Uint8]:
    """The pictures of a frame, by what their videos' names end with. The legend has all classes, so that it stays."""
    painted = overlay(it.image, only(it.labels, wanted.classes), card.colors, wanted.alpha)
    found = {f"-{name.replace('/', '-')}": heated(it.image, heat, wanted.pixel) for name, heat in it.heats.items()}
    if wanted.overlay or not wanted.side_by_side:
        found[""] = _with_names(painted, card, wanted.classes)
    if wanted.side_by_side:
        found["-side-by-side"] = _with_names(side_by_side(it.image, painted), card, wanted.classes)
    return found


def _pictures(it: Predicted, shown: Uint8, card: DatasetCard, wanted: Wanted) -> dict[str, Uint8]:
    """By the names of their folders."""
    found = {name: heated(it.image, heat, wanted.pixel) for name, heat in it.heats.items()}
    if not (wanted.overlay or wanted.side_by_side):
        return found
    painted = overlay(it.image, shown, card.colors, wanted.alpha)
    present = [index for index in np.unique(shown).tolist() if index != VOID]
    if wanted.overlay:
        found["overlays"] = _with_names(painted, card, present)
    if wanted.side_by_side:
        found["side-by-side"] = _with_names(side_by_side(it.image, painted), card, present)
    return found


def _confusion(labels: Uint8, truth: Uint8, classes: int) -> torch.Tensor:
    """Where labels are VOID, so is the truth."""
    known = torch.from_numpy(np.where(labels == VOID, np.uint8(0), labels))
    return confusion_matrix(known, torch.from_numpy(truth), classes)


def _with_names(picture: Uint8, card: DatasetCard, classes: Sequence[int]) -> Uint8:
    return with_legend(picture, [card.classes[i] for i in classes], [card.colors[i] for i in classes])


def _save(picture: Uint8, path: Path) -> Path:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=JPEG_QUALITY)
    return path
