"""Videos, frame by frame, in and out."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from segsweep.trainables.components import DataError

if TYPE_CHECKING:
    from segsweep.trainables.components import Uint8


os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong with a file is said once, by us


class Footage(NamedTuple):
    """A video that is being read."""

    frames: Iterator[Uint8]  # (H, W, 3) RGB
    length: int  # in frames, as the file states it
    fps: float


@contextmanager
def footage(path: Path) -> Generator[Footage]:
    """Raises DataError for a file that is no video, or that has no frames."""
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise DataError(
                f"{path}: cannot be read as a video. It may hold no frame, or be of a kind that OpenCV does not read: "
                "convert it, for instance to H.264 in an .mp4 file"
            )
        there, first = capture.read()
        if not there:
            raise DataError(f"{path}: holds no frame that can be decoded")
        fps = capture.get(cv2.CAP_PROP_FPS) or 25.0  # some files do not say
        yield Footage(_frames(capture, first), max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))), fps)
    finally:
        capture.release()


def _frames(capture: cv2.VideoCapture, first: Uint8) -> Iterator[Uint8]:
    there, frame = True, first
    while there:
        yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
        there, frame = capture.read()


class Recorder:
    """Writes a video of MPEG-4 frames. All have the size of the first, padded by a pixel where that is odd."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.frames = path, 0
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None

    def add(self, picture: Uint8) -> None:
        """picture: (H, W, 3) RGB. Raises OSError if the file cannot be written."""
        height, width = picture.shape[:2]
        even = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            four = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self.path), four, self._fps, (even.shape[1], even.shape[0]))
            if not self._writer.isOpened():
                raise OSError(f"{self.path}: the video cannot be written")
        self._writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))
        self.frames += 1

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()
