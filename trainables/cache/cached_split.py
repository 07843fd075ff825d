"""Every image decoded once per node: uint8 arrays on disk that all trials map into memory and share.

One folder per (content, split, image size). It is checked when opened; what is missing or damaged is decoded first,
under a lock: whoever comes meanwhile waits and reads. cache_files.py tells what lies on the disk.
"""

from __future__ import annotations

import hashlib
import itertools
import mmap
import os
import weakref
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from segsweep.trainables.cache.building import Job, build
from segsweep.trainables.cache.files import Header, Log, NotWholeError, chunk_name, whole
from segsweep.trainables.cache.locks import used, writing
from segsweep.trainables.components import DataError, Dataset, Pair, Split
from segsweep.trainables.places import cache_folder, file_name
from segsweep.trainables.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from segsweep.trainables.components import Uint8


class CachedSplit:
    """One split of a dataset, mapped into memory when it is first read. Pickles as the name of its folder.

    While one exists, nobody removes the folder to make room.
    """

    ids: tuple[str, ...]
    class_counts: npt.NDArray[np.int64]  # (C,) pixels of each class at original size; void is not counted
    fingerprint: (
        str  # of classes, ids and pixels at original size: the same wherever and at whatever size they are cached
    )
    folder: Path

    def __init__(self, folder: Path, log: Log) -> None:
        import numpy as np

        chunks = [log.chunks[number] for number in range(log.header.chunks)]
        self.folder = folder
        self.ids = tuple(itertools.chain.from_iterable(chunk.ids for chunk in chunks))
        self.class_counts = np.array([chunk.class_counts for chunk in chunks], np.int64).sum(0)
        contents = repr((log.header.classes, [chunk.content for chunk in chunks]))
        self.fingerprint = hashlib.sha256(contents.encode()).hexdigest()
        self._size = log.header.image_size
        self._frame_bytes, self._chunk_images = log.header.frame_bytes, log.header.chunk_images
        self._shapes = np.array([shape for chunk in chunks for shape in chunk.shapes], np.int32)  # (N, 2)
        self._count = log.header.chunks

    def __len__(self) -> int:
        return len(self.ids)

    def pair(self, index: int) -> Pair:
        """Image (h, w, 3) RGB and label (h, w) at the working size. Read-only views: a crop reads its pixels alone."""
        chunk, place = divmod(index, self._chunk_images)
        frame = self._chunks[chunk][place * self._frame_bytes : (place + 1) * self._frame_bytes]
        h, w = self._size
        return Pair(frame[: h * w * 3].reshape(h, w, 3), frame[h * w * 3 :].reshape(h, w))

    def original_label(self, index: int) -> Uint8:
        """(H, W) at the size the mask was made in; scores are computed on it. A read-only view."""
        chunk, place = divmod(index, self._chunk_images)
        first = chunk * self._chunk_images
        areas = self._shapes[first : first + self._chunk_images].prod(1, dtype="int64")
        start = len(areas) * self._frame_bytes + int(areas[:place].sum())
        height, width = self._shapes[index]
        return self._chunks[chunk][start : start + int(areas[place])].reshape(height, width)

    def first(self, images: int) -> CachedSplit:
        """The same split as if it had no more than so many images."""
        fewer = _open(self.folder)
        fewer.ids = self.ids[:images]
        return fewer

    def map(self) -> None:
        """Map all files now, and not when pixels are first asked for: from then on nobody can take them away."""
        self._chunks  # noqa: B018

    @cached_property
    def _chunks(self) -> list[Uint8]:
        return [_mapped(self.folder / chunk_name(number)) for number in range(self._count)]

    def __reduce__(self) -> tuple[object, ...]:
        return _open, (self.folder,)  # pickled arrays would be copies, one for each worker


def _mapped(path: Path) -> Uint8:
    import numpy as np

    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def open_split(
    dataset: Dataset,
    name: str,
    split: Split,
    image_size: tuple[int, int],
    folder: Path | None = None,
    *,
    progress: Progress = lambda done, total: None,
) -> CachedSplit:
    """The cached split, built first where it is not there yet, repaired where it is damaged.

    name: of the dataset, for people who look at the cache; image_size: (height, width);
    folder: where caches lie, by default $SEGSWEEP_CACHE, else segsweep/ in the user's cache folder;
    progress: told (images done, images in all) while images are decoded, and not at all if none need to be.
    Raises DataError for a sample that cannot be used, an empty split, or a cache that has to be written and cannot be.
    """
    samples = dataset.splits.get(split, ())
    if not samples:
        raise DataError(f"{name}: the split '{split}' has no images")
    header = Header(dataset=name, split=split, image_size=image_size, images=len(samples), classes=dataset.card.classes)
    place = (folder or cache_folder()).resolve() / _folder_name(dataset, header)
    try:
        return _open(place)  # the usual case needs no lock and no right to write
    except NotWholeError as error:
        why = str(error)
    with writing(place, why) as lock:
        with suppress(NotWholeError):  # another process built it while this one waited
            return _open(place)
        build(Job(place, header, samples, lock, progress))
        return _open(place)


def _folder_name(dataset: Dataset, header: Header) -> str:
    """Readable, and different whenever a sample or a setting is."""
    digest = hashlib.sha256(repr((Header.VERSION, header.image_size, dataset.card.classes)).encode())
    for sample in dataset.splits[header.split]:
        digest.update(repr((sample.id, sample.stamp)).encode())
    readable = file_name(header.dataset)[:40]
    return f"{readable}-{header.split}-{header.image_size[0]}x{header.image_size[1]}-{digest.hexdigest()[:20]}"


def _open(folder: Path) -> CachedSplit:
    """Raises NotWholeError. The lock comes first: what was checked before might be removed until then."""
    try:
        lock = used(folder)
    except OSError as error:
        raise NotWholeError(error.strerror) from None
    try:
        opened = CachedSplit(folder, whole(folder))
    except BaseException:
        os.close(lock)
        raise
    weakref.finalize(opened, os.close, lock)
    with suppress(OSError):  # what counts as used is the log's time; a folder may be read-only
        os.utime(lock)
    return opened
