"""What is to be predicted: images and videos, named by file or by folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from segsweep.trainables.components import DataError
from segsweep.trainables.datasets._files import read_image
from segsweep.trainables.datasets._pairing import IMAGE_ENDINGS
from segsweep.trainables.prediction.video import footage

if TYPE_CHECKING:
    from segsweep.trainables.components import Uint8

VIDEO_ENDINGS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


@dataclass(frozen=True)
class Source:
    """An image or a video."""

    path: Path
    name: str  # that of what is made of it: its path below the folder that was given, without ending

    @property
    def kind(self) -> Literal["image", "video"]:
        return "video" if self.path.suffix.lower() in VIDEO_ENDINGS else "image"


def sources(given: Path) -> list[Source]:
    """A file by its name; of a folder the images and videos in it and below, in the order of their paths.

    Raises DataError if there is no such thing, or nothing in it.
    """
    if not given.is_dir():
        if not given.is_file():
            raise DataError(f"{given}: no such file or folder")
        return [Source(given, given.stem)]
    known = (path for path in sorted(given.rglob("*")) if not path.name.startswith("."))
    found = [path for path in known if path.suffix.lower() in (*IMAGE_ENDINGS, *VIDEO_ENDINGS) and path.is_file()]
    if not found:
        endings = ", ".join((*IMAGE_ENDINGS, *VIDEO_ENDINGS))
        raise DataError(f"{given}: holds no image and no video ({endings})")
    return [Source(path, path.relative_to(given).with_suffix("").as_posix()) for path in found]


def read(source: Source) -> Uint8:
    """(H, W, 3) RGB, upright. Raises DataError, also for an image that memory does not hold."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # it was chosen by hand; it does not come from the web
    try:
        return read_image(source.path)
    except MemoryError:
        raise DataError(f"{source.path}: memory does not hold the image; cut it into parts first") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def problems_if_none_opens(found: Sequence[Source]) -> list[str]:
    """What is wrong with each, where not even one can be read: a network has nothing to do then."""
    problems = []
    for source in found:
        try:
            if source.kind == "image":
                read(source)
            else:
                with footage(source.path):
                    pass
            return []
        except DataError as error:
            problems.append(str(error))
    return problems


class Region(NamedTuple):
    """A part of an image, in pixels."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def parsed(cls, text: str) -> Self:
        """Of "x,y,w,h". Raises ValueError."""
        try:
            x, y, width, height = map(int, text.split(","))
        except ValueError:
            x = y = width = height = -1
        if min(x, y) < 0 or min(width, height) < 1:
            raise ValueError("must be x,y,w,h in pixels: four whole numbers, none negative, w and h from 1")
        return cls(x, y, width, height)

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def check(self, path: Path, size: tuple[int, int]) -> None:
        """size: (height, width) of the image. Raises DataError if the region is not inside."""
        if self.y + self.height > size[0] or self.x + self.width > size[1]:
            region = f"{self.width}x{self.height} at x={self.x}, y={self.y}"
            raise DataError(f"{path}: the region {region} is not inside the image, which is {size[1]}x{size[0]}")


def check_names(found: Sequence[Source]) -> None:
    """Raises DataError where two sources would write the same files."""
    seen: dict[tuple[str, str], Path] = {}
    for source in found:
        if (other := seen.setdefault((source.kind, source.name), source.path)) != source.path:
            raise DataError(f"{source.path}: what is made of it has the name of that of {other}; predict them apart")
