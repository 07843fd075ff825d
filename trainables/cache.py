"""Every image decoded once per node: uint8 arrays on disk that all trials map into memory and share.

One folder per (content, split, image size). It is built under a lock into a neighbouring folder, flushed, then renamed,
so it is whole or not there; whoever comes meanwhile waits and reads. It is checked when opened and rebuilt if damaged.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segsweep.trainables.cache_files import Manifest, build, damage, exclusive, map_file, read_manifest
from segsweep.trainables.components import DataError, Dataset, Split
from segsweep.trainables.places import cache_folder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from segsweep.trainables.components import Uint8


@dataclass(frozen=True)
class CachedSplit:
    """One split of a dataset, mapped into memory. Pickles as the name of its folder."""

    ids: tuple[str, ...]
    images: Uint8  # (N, h, w, 3) RGB at the working size
    labels: Uint8  # (N, h, w), class indices or VOID, at the working size
    class_counts: npt.NDArray[np.int64]  # (C,) pixels of each class at original size; void is not counted
    fingerprint: str  # of ids and pixels at original size: the same wherever and at whatever size they are cached
    folder: Path
    _originals: Uint8  # all labels at original size, one after the other
    _shapes: tuple[tuple[int, int], ...]
    _offsets: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def original_label(self, index: int) -> Uint8:
        """(H, W) at the size the mask was made in; scores are computed on it."""
        height, width = self._shapes[index]
        start = self._offsets[index]
        return self._originals[start : start + height * width].reshape(height, width)

    def __reduce__(self) -> tuple[object, ...]:
        return _open, (self.folder,)  # pickled arrays would be copies, one for each worker


def open_split(
    dataset: Dataset, name: str, split: Split, image_size: tuple[int, int], folder: Path | None = None
) -> CachedSplit:
    """The cached split, built first where it is not there yet.

    name: of the dataset, only to make the folder's name readable; image_size: (height, width);
    folder: where caches lie, by default $SEGSWEEP_CACHE, else segsweep/ in the user's cache folder.
    Raises DataError for a sample that cannot be used, an empty split, or a folder that cannot be written.
    """
    samples = dataset.splits.get(split, ())
    if not samples:
        raise DataError(f"{name}: the split '{split}' has no images")
    parent = (folder or cache_folder()).resolve()
    place = parent / _folder_name(dataset, name, split, image_size)
    if damage(place) is None:  # the usual case needs no lock and no right to write
        return _open(place)
    with exclusive(place):
        if damage(place) is not None:  # else another process built it while this one waited
            build(place, dataset, split, image_size)
    return _open(place)


def _folder_name(dataset: Dataset, name: str, split: Split, image_size: tuple[int, int]) -> str:
    """Readable, and different whenever a sample or a setting is."""
    digest = hashlib.sha256(repr((Manifest.VERSION, image_size, dataset.card.classes)).encode())
    for sample in dataset.splits[split]:
        digest.update(repr((sample.id, sample.stamp)).encode())
    readable = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:40]
    return f"{readable}-{split}-{image_size[0]}x{image_size[1]}-{digest.hexdigest()[:20]}"


def _open(folder: Path) -> CachedSplit:
    import numpy as np

    manifest = read_manifest(folder)
    count, (h, w) = len(manifest.ids), manifest.image_size
    sizes = [height * width for height, width in manifest.shapes]
    return CachedSplit(
        ids=manifest.ids,
        images=map_file(folder / "images", (count, h, w, 3)),
        labels=map_file(folder / "labels", (count, h, w)),
        class_counts=np.array(manifest.class_counts, np.int64),
        fingerprint=manifest.fingerprint,
        folder=folder,
        _originals=map_file(folder / "originals", (sum(sizes),)),
        _shapes=manifest.shapes,
        _offsets=tuple(np.cumsum([0, *sizes[:-1]]).tolist()),
    )
