"""Classes and the values that stand for them in files of masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from segsweep.trainables.components import VOID, Color, DataError, DatasetCard
from segsweep.trainables.datasets._files import MaskCodes, read_mask
from segsweep.trainables.datasets._pairing import MASK_ENDINGS, Template
from segsweep.trainables.datasets._street_labels import LABELS

if TYPE_CHECKING:
    from segsweep.trainables.components import Uint8

Ids = Literal["train", "original", "cityscapes"]
VOID_COLOR = (224, 224, 192)  # as in the masks of Pascal VOC
FRAME = "_leftImg8bit"  # how names of Cityscapes' images end


@dataclass(frozen=True)
class Values:
    """Of each class, and of VOID, in masks of 8 bits."""

    classes: tuple[int, ...]
    void: int
    colors: tuple[Color, ...]

    def save(self, labels: Uint8, path: Path) -> None:
        """An indexed PNG that looks as the classes' colours; labels: (H, W), class or VOID. Raises OSError."""
        from PIL import Image

        table = np.full(256, self.void, np.uint8)
        table[: len(self.classes)] = self.classes
        palette = np.zeros((256, 3), np.uint8)
        palette[self.void] = VOID_COLOR
        palette[list(self.classes)] = self.colors
        mask = Image.fromarray(table[labels])
        mask.putpalette(palette.ravel().tolist())
        path.parent.mkdir(parents=True, exist_ok=True)
        mask.save(path)


def values(card: DatasetCard, ids: Ids) -> Values:
    """train: the number of each class; original: the dataset's own; cityscapes: the official ids, by classes' names.

    Raises DataError where a class has none, or one of more than 8 bits.
    """
    raws: Sequence[int] = range(len(card.classes))
    voids: Sequence[int] = [VOID]
    if ids == "original" and card.values:
        raws = _firsts(card)
        voids = [raw for raw, code in card.values if code == VOID and raw <= 255]
    elif ids == "cityscapes":
        raws, voids = _official(card.classes), [0]
    free = (raw for raw in range(VOID, -1, -1) if raw not in raws)
    return Values(tuple(raws), VOID if VOID in voids else next(iter((*voids, *free))), card.colors)


def _firsts(card: DatasetCard) -> list[int]:
    """The lowest value of each class."""
    found = {code: raw for raw, code in sorted(card.values, reverse=True)}
    raws = [found.get(index, -1) for index in range(len(card.classes))]
    if min(raws) < 0 or max(raws) > 255:
        name, raw = next((card.classes[i], raw) for i, raw in enumerate(raws) if not 0 <= raw <= 255)
        why = "no value in the dataset's masks" if raw < 0 else f"the value {raw} there, too large for 8 bits"
        raise DataError(f"--ids original: class '{name}' has {why}; give `--ids train`")
    return raws


def _official(classes: Sequence[str]) -> list[int]:
    known = {label.name: label.id for label in LABELS if label.id >= 0}
    if missing := [name for name in classes if name not in known]:
        raise DataError(f"--ids cityscapes: '{missing[0]}' is no class of Cityscapes; give `--ids original`")
    return [known[name] for name in classes]


def submission_name(name: str) -> str:
    """What Cityscapes' scorer looks for: CITY_SEQUENCE_FRAME and anything. Raises DataError for another name."""
    frame = name.rpartition("/")[2].removesuffix(FRAME)
    if len(frame.split("_")) < 3:
        raise DataError(f"{name}: --ids cityscapes needs images of Cityscapes, named CITY_SEQUENCE_FRAME{FRAME}.png")
    return f"{frame}_pred"


class Truth:
    """Masks of images, in the values of the dataset that the network was trained on."""

    def __init__(self, given: str) -> None:
        """given: a folder, or a template such as `gt/{id}_labelIds.png`; an id is the name of an image.

        Raises DataError if there are none.
        """
        template = Template.of(Path(), given, MASK_ENDINGS)
        if not template.folder.is_dir():
            raise DataError(f"{template.folder}: no such folder")
        found = template.found()
        names = Counter(id_.rpartition("/")[2] for id_ in found)
        short = {id_.rpartition("/")[2]: path for id_, path in found.items()}
        self._files = {name: path for name, path in short.items() if names[name] == 1} | dict(found)

    def path(self, name: str) -> Path | None:
        """Where the mask of an image lies; None if it has none."""
        names = (name, name.removesuffix(FRAME), name.rpartition("/")[2].removesuffix(FRAME))
        return next((found for each in names if (found := self._files.get(each))), None)

    def of(self, name: str, size: tuple[int, int], card: DatasetCard) -> Uint8 | None:
        """(H, W), class or VOID; None for an image without mask. Raises DataError for one of another size."""
        path = self.path(name)
        if path is None:
            return None
        label = read_mask(path, _codes(card))
        if label.shape != size:
            raise DataError(f"{path}: the mask is {label.shape[1]}x{label.shape[0]}, its image {size[1]}x{size[0]}")
        return label


def _codes(card: DatasetCard) -> MaskCodes:
    pairs = card.values or tuple((index, index) for index in range(len(card.classes)))
    voids = {VOID: VOID} if VOID not in dict(pairs) else {}
    return MaskCodes(card.classes, tuple(sorted({**dict(pairs), **voids}.items())))


def only(labels: Uint8, classes: Collection[int]) -> Uint8:
    """Labels of other classes become VOID."""
    kept = np.isin(np.arange(256), list(classes))
    return np.where(kept[labels], labels, np.uint8(VOID))
