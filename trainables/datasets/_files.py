"""Reading images and masks, and where relative dataset roots lie. What every dataset of files shares."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from segsweep.trainables.addresses import Address, Root, is_address
from segsweep.trainables.cache.staging import staged
from segsweep.trainables.components import VOID, Color, DataError, Pair, Sample
from segsweep.trainables.data.mask_borders import looks_interpolated
from segsweep.trainables.datasets._problems import SHOWN
from segsweep.trainables.places import DATA_VARIABLE, data_folder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

    from segsweep.trainables.components import Uint8

    T = TypeVar("T")

SHARP = (
    "the values lie between those of neighbouring pixels, as smooth scaling and JPEG leave them; export the mask anew, "
    "as PNG and with nearest-neighbour interpolation"
)
TURNS_ON_ITS_SIDE = range(5, 9)  # EXIF orientations that swap width and height


@dataclass(frozen=True)
class MaskCodes:
    """What the raw values of a dataset's masks stand for."""

    classes: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]  # (raw value, class index or VOID)
    colored: bool = False  # the masks are RGB pictures; a raw value is 0xRRGGBB
    remedy: str = ""  # for a mask with another value, where the user's options cannot give it a meaning

    @classmethod
    def of(cls, classes: Sequence[str], ignore: Sequence[int] = (), values: dict[int, int] | None = None) -> MaskCodes:
        """Raw value = class index unless `values` says otherwise; raw values in `ignore` become VOID."""
        known = dict(values) if values else {index: index for index in range(len(classes))}
        return cls(tuple(classes), tuple(sorted({**known, **dict.fromkeys(ignore, VOID)}.items())))

    @classmethod
    def of_colors(cls, colors: Mapping[str, Color], ignore: Sequence[Color] = ()) -> MaskCodes:
        """RGB masks: class names in their order with the colour of each; pixels of a colour in `ignore` become VOID."""
        known = {_packed(color): index for index, color in enumerate(colors.values())}
        return cls(tuple(colors), cls.of((), [_packed(color) for color in ignore], known).pairs, colored=True)

    @property
    def values(self) -> tuple[tuple[int, int], ...]:
        """What a DatasetCard says of them."""
        return () if self.colored else self.pairs

    @cached_property
    def digest(self) -> str:
        """Short, and another one for other codes: samples by the hundred thousand carry it in their stamps."""
        return hashlib.sha256(repr((self.classes, self.pairs, self.colored)).encode()).hexdigest()[:12]

    @property
    def allowed(self) -> str:
        """`0 = background, 1 = nucleus, 255 = void`, shortened in the middle."""
        words = [f"{self.written(raw)} = {'void' if code == VOID else self.classes[code]}" for raw, code in self.pairs]
        return ", ".join(words if len(words) <= 12 else [*words[:8], "...", *words[-3:]])

    def written(self, raw: int) -> str:
        """A raw value as users write it: `7`, or `[0, 128, 64]` for a colour."""
        return str([raw >> 16, raw >> 8 & 255, raw & 255] if self.colored else raw)


def _packed(color: Color) -> int:
    red, green, blue = color
    return red << 16 | green << 8 | blue


def resolve_root(root: str) -> Root:
    """Addresses and absolute roots as they are; others below $SEGSWEEP_DATA or the current folder. Raises DataError."""
    if is_address(root):
        return Address.of(root)
    path = Path(root).expanduser()
    return path if path.is_absolute() else data_folder() / path


def existing_root(root: str) -> Path:
    """The resolved root; of an address, the folder that it is staged in. Raises DataError where nothing is."""
    path = resolve_root(root)
    if isinstance(path, Address):
        return staged(path)
    if not path.is_dir():
        here = f"the current folder (${DATA_VARIABLE} is unset)"
        where = f"${DATA_VARIABLE}" if os.environ.get(DATA_VARIABLE) else here
        raise DataError(f"{path}: no such folder. Relative roots are looked up in {where}; put it there or give `root`")
    return path


def file_below(root: str, name: str) -> Path:
    """One file of an existing root, for who needs no other: of an address, it is staged alone. Raises DataError."""
    resolved = resolve_root(root)
    if isinstance(resolved, Address) and not Path(name).is_absolute():
        return staged(resolved / name) / Path(name).name
    return existing_root(root) / name


def file_sample(id_: str, image: Path, mask: Path, codes: MaskCodes, group: str = "") -> Sample:
    """A sample of two files. Raises DataError if one of them is missing."""
    stamps = f"{stamp(image)} {stamp(mask)} {codes.digest}"
    return Sample(id_, stamps, partial(read_pair, image, mask, codes), group, (image, mask))


def stamp(path: Path) -> str:
    """Path, size and time of change. Raises DataError if there is no such file."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "unpaired") from None
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def read_pair(image: Path, mask: Path, codes: MaskCodes) -> Pair:
    """Both files, the image as RGB and the mask as class indices or VOID. Raises DataError."""
    pair = Pair(read_image(image), read_mask(mask, codes))
    if pair.image.shape[:2] != pair.label.shape:
        raise _unequal_sizes(image, mask, pair)
    return pair


def _unequal_sizes(image: Path, mask: Path, pair: Pair) -> DataError:
    (h, w), (mask_h, mask_w) = pair.image.shape[:2], pair.label.shape
    turn = orientation(image)
    if turn in TURNS_ON_ITS_SIDE and (mask_w, mask_h) == (h, w):
        return DataError(
            f"{mask}: the mask is {mask_w}x{mask_h} as its image {image.name} is stored, but the image's EXIF "
            f"orientation {turn} turns it to {w}x{h} (width x height). Turn the mask as well, or take the tag away "
            "if the image is upright without it",
            "orientation",
        )
    return DataError(
        f"{mask}: the mask is {mask_w}x{mask_h} but its image {image.name} is {w}x{h} (width x height, after the "
        "image's EXIF orientation). Export the mask at the image's size, with nearest-neighbour interpolation",
        "sizes",
    )


def orientation(path: Path) -> int:
    """An image's EXIF orientation, 1..8; 1 is upright and what images without the tag have. Raises DataError."""
    from PIL import ExifTags, Image

    def tag(image: Image.Image) -> int:
        found = Image.Image.getexif(image).get(ExifTags.Base.Orientation)  # PNG's own getexif would decode all pixels
        return found if isinstance(found, int) and 1 <= found <= 8 else 1

    return _read(path, tag)


def file_format(path: Path) -> str | None:
    """JPEG, PNG ..., by what the file holds and not by its name. Raises DataError."""
    found: str | None = _read(path, attrgetter("format"))
    return found


def read_image(path: Path) -> Uint8:
    """(H, W, 3) RGB, turned as its EXIF orientation says; grey becomes three equal channels. Raises DataError."""
    return _read(path, partial(rgb, place=str(path)))


def read_mask(path: Path, codes: MaskCodes) -> Uint8:
    """(H, W), class indices or VOID. Raises DataError that names a value which is no class."""
    return to_label(raw_values(path, codes), codes, str(path))


def raw_values(path: Path, codes: MaskCodes) -> npt.NDArray[np.int64]:
    """(H, W) as stored; the colours of RGB masks as 0xRRGGBB. Raises DataError."""
    if path.suffix.lower() == ".npy":
        return _raw_array(path)
    return _read(path, partial(raw_mask, codes=codes, place=str(path)))


def to_label(raw: npt.NDArray[np.int64], codes: MaskCodes, place: str) -> Uint8:
    """Raw values (H, W) to class indices or VOID. Raises DataError that begins with `place`."""
    import numpy as np

    keys, classes = _table(codes)
    found = np.searchsorted(keys, raw).clip(max=len(keys) - 1) if codes.colored else raw.clip(0, len(keys) - 1)
    bad = keys[found] != raw
    if bad.any():
        raise _unknown_values(place, raw, bad, codes)
    label: Uint8 = classes[found]
    return label


def _read(path: Path, decode: Callable[[Image], T]) -> T:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return decode(image)
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: cannot be read as an image ({error}). Replace the file or take it out", "unreadable"
        ) from error


def rgb(image: Image, place: str) -> Uint8:
    """(H, W, 3), upright. Raises DataError that begins with `place`."""
    import numpy as np
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F":
        raise DataError(f"{place}: floating-point pixels have no fixed range; save 8 or 16 bits")
    if upright.mode.startswith("I"):  # 16 bits: convert("RGB") would clip everything above 255 to white
        grey = (np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if upright.mode == "P":  # a palette with transparency converts through RGBA, or Pillow warns
        upright = upright.convert("RGBA")
    return np.array(upright.convert("RGB"))


def raw_mask(image: Image, codes: MaskCodes, place: str) -> npt.NDArray[np.int64]:
    """Values as stored, (H, W); those of RGB masks as 0xRRGGBB. Raises DataError that begins with `place`.

    Masks of values are never converted to "L" or "RGB": that would turn palette indices into colours.
    """
    import numpy as np

    if codes.colored:
        if image.mode not in ("RGB", "RGBA", "P"):
            raise DataError(f"{place}: `colors` needs colour masks (RGB), this one is of mode {image.mode}")
        packed: npt.NDArray[np.int64] = np.asarray(image.convert("RGB")) @ np.array([1 << 16, 1 << 8, 1])
        return packed
    if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
        raise DataError(
            f"{place}: a mask needs one channel of class values (mode L, P or 16 bits), this one is {image.mode}. "
            "Colour masks need a table `colors: {NAME: [R, G, B], ...}` where the dataset takes one (folder does)"
        )
    return np.asarray(image).astype(np.int64)


def _raw_array(path: Path) -> npt.NDArray[np.int64]:
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path}: cannot be read as an array ({error}). Replace the file or take it out", "unreadable"
        ) from error
    if array.ndim != 2 or array.dtype.kind not in "iub":
        raise DataError(f"{path}: a mask is an array (H, W) of whole numbers, this one is {array.shape} {array.dtype}")
    return np.asarray(array, np.int64)


@lru_cache(maxsize=16)
def _table(codes: MaskCodes) -> tuple[npt.NDArray[np.int64], Uint8]:
    """Sorted raw values and their classes. Values that are no colours stand at the place of their number."""
    import numpy as np

    raws, classes = np.array(codes.pairs, np.int64).T
    if codes.colored:
        return raws, classes.astype(np.uint8)
    nothing = np.iinfo(np.int64).min
    keys, values = np.full(raws[-1] + 1, nothing, np.int64), np.zeros(raws[-1] + 1, np.uint8)
    keys[raws], values[raws] = raws, classes
    return keys, values


def _unknown_values(place: str, raw: npt.NDArray[np.int64], bad: npt.NDArray[np.bool_], codes: MaskCodes) -> DataError:
    import numpy as np

    values = np.unique(raw[bad]).tolist()
    y, x = (int(i) for i in np.argwhere(bad)[0])
    some = ", ".join(map(codes.written, values[:SHOWN])) + (
        f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    )
    kind = "colour" if codes.colored else "value"
    smooth = not codes.colored and looks_interpolated(raw)
    remedy = SHARP if smooth else codes.remedy or _remedy(raw, values, codes)
    return DataError(
        f"{place}: {kind} {some} in {int(bad.sum())} pixels (first at x={x}, y={y}) is no class. "
        f"Allowed: {codes.allowed}. Remedy: {remedy}",
        "interpolated" if smooth else "values",
    )


def _remedy(raw: npt.NDArray[np.int64], unknown: Sequence[int], codes: MaskCodes) -> str:
    if codes.colored:
        return "add it to `colors`, or to `ignore_colors` to make it void; JPEG and smooth scaling invent such colours"
    if list(unknown) == [255] and len(codes.classes) == 2 and not (raw == 1).any():
        return "a black-and-white mask needs `values: {0: 0, 255: 1}`; if 255 means void, `ignore: [255]`"
    return f"`ignore: [{unknown[0]}]` makes it void, `values` maps raw values to classes"
