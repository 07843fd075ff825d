"""Reading images and masks, and where relative dataset roots lie. What every dataset of files shares."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from segsweep.trainables.components import VOID, DataError, Pair, Sample
from segsweep.trainables.places import DATA_VARIABLE, data_folder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

    from segsweep.trainables.components import Uint8

    T = TypeVar("T")

SHOWN = 5  # how many of many bad files a message lists


@dataclass(frozen=True)
class MaskCodes:
    """What the raw values of a dataset's masks stand for."""

    classes: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]  # (raw value, class index or VOID)

    @classmethod
    def of(cls, classes: Sequence[str], ignore: Sequence[int] = (), values: dict[int, int] | None = None) -> MaskCodes:
        """Raw value = class index unless `values` says otherwise; raw values in `ignore` become VOID."""
        known = dict(values) if values else {index: index for index in range(len(classes))}
        return cls(tuple(classes), tuple(sorted({**known, **dict.fromkeys(ignore, VOID)}.items())))

    @property
    def allowed(self) -> str:
        """`0 = background, 1 = nucleus, 255 = void`, shortened in the middle."""
        words = [f"{raw} = {'void' if code == VOID else self.classes[code]}" for raw, code in self.pairs]
        return ", ".join(words if len(words) <= 12 else [*words[:8], "...", *words[-3:]])


def resolve_root(root: str) -> Path:
    """An absolute root as it is; a relative one below $SEGSWEEP_DATA, else below the current folder."""
    return data_folder() / Path(root).expanduser()


def existing_root(root: str) -> Path:
    """The resolved root. Raises DataError where no folder is."""
    path = resolve_root(root)
    if not path.is_dir():
        where = (
            f"${DATA_VARIABLE}" if os.environ.get(DATA_VARIABLE) else f"the current folder (${DATA_VARIABLE} is unset)"
        )
        raise DataError(
            f"{path}: no such folder. Relative roots are looked up in {where}; put the dataset there or give `root`"
        )
    return path


def file_sample(id_: str, image: Path, mask: Path, codes: MaskCodes, group: str = "") -> Sample:
    """A sample of two files. Raises DataError if one of them is missing."""
    return Sample(id_, f"{stamp(image)} {stamp(mask)} {codes.pairs}", partial(read_pair, image, mask, codes), group)


def stamp(path: Path) -> str:
    """Path, size and time of change. Raises DataError if there is no such file."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def read_pair(image: Path, mask: Path, codes: MaskCodes) -> Pair:
    """Both files, the image as RGB and the mask as class indices or VOID. Raises DataError."""
    pair = Pair(read_image(image), read_mask(mask, codes))
    if pair.image.shape[:2] != pair.label.shape:
        (h, w), (mask_h, mask_w) = pair.image.shape[:2], pair.label.shape
        raise DataError(
            f"{mask}: the mask is {mask_w}x{mask_h} but its image {image.name} is {w}x{h} (width x height, after the "
            "image's EXIF orientation). Export the mask at the image's size, with nearest-neighbour interpolation"
        )
    return pair


def read_image(path: Path) -> Uint8:
    """(H, W, 3) RGB, turned as its EXIF orientation says; grey becomes three equal channels. Raises DataError."""
    return _read(path, _rgb)


def read_mask(path: Path, codes: MaskCodes) -> Uint8:
    """(H, W), class indices or VOID. Raises DataError that names a value which is no class."""
    import numpy as np

    raw = _read(path, partial(_raw_mask, path))
    table = _table(codes)
    known = (raw >= 0) & (raw < len(table))
    label = table[np.where(known, raw, 0)]
    bad = (label < 0) | ~known
    if bad.any():
        raise DataError(_unknown_values(path, raw, bad, codes))
    return label.astype(np.uint8)


def _read(path: Path, decode: Callable[[Image], T]) -> T:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return decode(image)
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error}). Replace the file or take it out") from error


def _rgb(image: Image) -> Uint8:
    import numpy as np
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F":
        raise DataError(f"{image.filename}: floating-point pixels have no fixed range; save 8 or 16 bits")  # type: ignore[attr-defined]
    if upright.mode.startswith("I"):  # 16 bits: convert("RGB") would clip everything above 255 to white
        grey = (np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if upright.mode == "P":  # a palette with transparency converts through RGBA, or Pillow warns
        upright = upright.convert("RGBA")
    return np.array(upright.convert("RGB"))


def _raw_mask(path: Path, image: Image) -> npt.NDArray[np.int64]:
    """Values as stored. Never convert("L"/"RGB"): it would turn palette indices into colours."""
    import numpy as np

    if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
        raise DataError(
            f"{path}: a mask needs one channel of class values (mode L, P or 16 bits), this one is {image.mode}. "
            "Colour masks have to be converted to class indices first"
        )
    return np.asarray(image).astype(np.int64)


@lru_cache(maxsize=16)
def _table(codes: MaskCodes) -> npt.NDArray[np.int16]:
    """Raw value -> class index or VOID, -1 where the value means nothing."""
    import numpy as np

    table = np.full(max(raw for raw, _ in codes.pairs) + 1, -1, np.int16)
    for raw, code in codes.pairs:
        table[raw] = code
    return table


def _unknown_values(path: Path, raw: npt.NDArray[np.int64], bad: npt.NDArray[np.bool_], codes: MaskCodes) -> str:
    import numpy as np

    values = np.unique(raw[bad]).tolist()
    y, x = (int(i) for i in np.argwhere(bad)[0])
    some = ", ".join(map(str, values[:SHOWN])) + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "")
    hint = f"`ignore: [{values[0]}]` makes it void, `values` maps raw values to classes"
    if values == [255] and len(codes.classes) == 2 and not np.any(raw == 1):
        hint = "a black-and-white mask needs `values: {0: 0, 255: 1}`; if 255 means void, `ignore: [255]`"
    return (
        f"{path}: value {some} in {int(bad.sum())} pixels (first at x={x}, y={y}) is no class. "
        f"Allowed: {codes.allowed}. Remedy: {hint}"
    )
