"""The files of one cached split: written in one pass, described by a manifest, checked before use."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from segsweep.trainables.components import VOID, DataError, Dataset, Sample, Split
from segsweep.trainables.places import CACHE_VARIABLE
from segsweep.trainables.resize import resize_pair

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from segsweep.trainables.components import Pair, Uint8

ARRAYS = ("images", "labels", "originals")
MANIFEST = "manifest.json"
SHOWN_ERRORS = 5  # after as many unusable samples, building stops


class FileState(BaseModel):
    """What a file must look like. As long as its size and time are unchanged, its bytes are not read again."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    size: int
    mtime_ns: int
    sha256: str

    def matches(self, path: Path) -> bool:
        """The cheap check first: hashing 1 GB takes seconds, and every trial opens the cache."""
        status = path.stat()
        if status.st_size != self.size:
            return False
        return status.st_mtime_ns == self.mtime_ns or _sha256(path) == self.sha256


class Manifest(BaseModel):
    """All that is known of a cached split besides the arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    VERSION: ClassVar[int] = 1  # raised when the files or the resizing change

    ids: tuple[str, ...]
    image_size: tuple[int, int]
    shapes: tuple[tuple[int, int], ...]  # (height, width) of each label at original size
    class_counts: tuple[int, ...]
    fingerprint: str
    files: dict[str, FileState]


class Writer:
    """Appends to a file, so that a full disk is an OSError here and no SIGBUS in a mapped page, and hashes along."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, array: Uint8) -> None:
        data = array.tobytes()
        self._file.write(data)
        self._digest.update(data)

    def finish(self) -> FileState:
        """Flush to the disk itself: after a power cut the rename may be there and the bytes not."""
        self._file.flush()
        os.fsync(self._file.fileno())
        status = self._path.stat()
        return FileState(size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=self._digest.hexdigest())


@contextmanager
def exclusive(place: Path) -> Iterator[None]:
    """Hold the lock of one cache folder; waits. A process that dies gives it back. Raises DataError."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = (place.parent / f"{place.name}.lock").open("w")
    except OSError as error:
        raise DataError(
            f"{place.parent}: the image cache cannot be written ({error.strerror}). "
            f"Set {CACHE_VARIABLE} to a folder that can, on a disk with room"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def damage(place: Path) -> str | None:
    """Why the cached split cannot be used, or None if it can."""
    try:
        manifest = read_manifest(place)
        wrong = [name for name in ARRAYS if not manifest.files[name].matches(place / name)]
    except (OSError, ValidationError, KeyError) as error:
        return str(error)
    return f"{', '.join(wrong)} changed" if wrong else None


def read_manifest(place: Path) -> Manifest:
    return Manifest.model_validate_json((place / MANIFEST).read_bytes())


def map_file(path: Path, shape: tuple[int, ...]) -> Uint8:
    import numpy as np

    return np.memmap(path, np.uint8, "r", shape=shape)


def build(place: Path, dataset: Dataset, split: Split, image_size: tuple[int, int]) -> None:
    """Write the split beside `place`, then rename. The caller holds the lock. Raises DataError; leaves nothing then."""
    beside = place.with_name(f".{place.name}.building")  # one name: what a killed process left is overwritten
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir()
        manifest = _write(beside, dataset, split, image_size)
        with (beside / MANIFEST).open("w") as file:
            file.write(manifest.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        shutil.rmtree(place, ignore_errors=True)  # damaged; processes that mapped it keep their pages
        beside.rename(place)
    except OSError as error:
        raise DataError(f"{place.parent}: the image cache cannot be written ({error}). Set {CACHE_VARIABLE}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write(beside: Path, dataset: Dataset, split: Split, image_size: tuple[int, int]) -> Manifest:
    """One sample after the other: only one is in memory."""
    import numpy as np

    samples = dataset.splits[split]
    counts, shapes, errors = np.zeros(256, np.int64), [], []
    content = hashlib.sha256(repr(dataset.card.classes).encode())
    with ExitStack() as stack:
        files = {name: stack.enter_context(Writer(beside / name)) for name in ARRAYS}
        for sample in samples:
            try:
                pair = sample.read()
                counts += _counted(sample, pair, dataset)
            except DataError as error:
                errors.append(str(error))
                if len(errors) == SHOWN_ERRORS:
                    break
                continue
            content.update(repr((sample.id, pair.label.shape)).encode() + pair.image.tobytes() + pair.label.tobytes())
            small = resize_pair(pair, image_size)
            for name, array in zip(ARRAYS, (small.image, small.label, pair.label), strict=True):
                files[name].write(array)
            shapes.append((pair.label.shape[0], pair.label.shape[1]))
        _raise_if(errors, counts, split)
        states = {name: file.finish() for name, file in files.items()}
    return Manifest(
        ids=tuple(sample.id for sample in samples),
        image_size=image_size,
        shapes=tuple(shapes),
        class_counts=tuple(counts[: len(dataset.card.classes)].tolist()),
        fingerprint=content.hexdigest(),
        files=states,
    )


def _counted(sample: Sample, pair: Pair, dataset: Dataset) -> npt.NDArray[np.int64]:
    """(256,) pixels of each label. Raises DataError where image and label are not what `Pair` promises."""
    import numpy as np

    image, label = pair
    if image.dtype != np.uint8 or label.dtype != np.uint8 or image.shape != (*label.shape, 3):
        raise DataError(
            f"{sample.id}: a pair needs an image (H, W, 3) and a label (H, W), both uint8; "
            f"these are {image.shape} {image.dtype} and {label.shape} {label.dtype}"
        )
    counts = np.bincount(label.reshape(-1), minlength=256)
    beyond = np.flatnonzero(counts[len(dataset.card.classes) : VOID])
    if beyond.size:
        value = int(beyond[0]) + len(dataset.card.classes)
        raise DataError(
            f"{sample.id}: label {value} is no class; "
            f"allowed are 0..{len(dataset.card.classes) - 1} and {VOID} for void"
        )
    return counts


def _raise_if(errors: list[str], counts: npt.NDArray[np.int64], split: Split) -> None:
    if errors:
        more = f"\n(stopped after {SHOWN_ERRORS}; there may be more)" if len(errors) == SHOWN_ERRORS else ""
        raise DataError("\n".join(errors) + more)
    if not counts[:VOID].any():
        raise DataError(f"split '{split}': every pixel is void, so there is nothing to learn or to score")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
