"""Which classes each image shows. Every mask is read once; the answer is kept beside the image cache."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from segsweep.trainables.components import Sample
from segsweep.trainables.data.class_counts import class_counts
from segsweep.trainables.places import cache_folder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LOG = logging.getLogger(__name__)
FOLDER = "class-presence"
MOST_THREADS = 8  # decoding lets go of Python's lock; one image a thread is in memory


def class_presence(samples: Sequence[Sample], classes: int, folder: Path | None = None) -> npt.NDArray[np.bool_]:
    """(N, classes), true where the image has a pixel of the class; void counts for nothing.

    folder: where the answer is kept, by default below the cache folder. Raises DataError for a sample that is unusable.
    """
    import numpy as np

    path = (folder or cache_folder()) / FOLDER / f"{_key(samples, classes)}.npy"
    try:
        known: npt.NDArray[np.bool_] = np.load(path, allow_pickle=False)
        if known.shape == (len(samples), classes) and known.dtype == np.bool_:
            return known
    except (OSError, ValueError, EOFError):
        pass  # not there yet, or damaged
    LOG.info("reading %d masks to see which classes they show", len(samples))
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        found = np.array(list(pool.map(partial(_shown, classes=classes), samples)), np.bool_)
    _keep(path, found)
    return found


def _shown(sample: Sample, classes: int) -> npt.NDArray[np.bool_]:
    shown: npt.NDArray[np.bool_] = class_counts(sample, sample.read(), classes) > 0
    return shown


def _key(samples: Sequence[Sample], classes: int) -> str:
    """Another one whenever a sample may have changed."""
    digest = hashlib.sha256(str(classes).encode())
    for sample in samples:
        digest.update(repr(sample.stamp).encode())
    return digest.hexdigest()[:32]


def _keep(path: Path, found: npt.NDArray[np.bool_]) -> None:
    """Whole or not at all. A folder that cannot be written costs the next caller the reading, nothing else."""
    import numpy as np

    unfinished = path.with_name(f"{path.stem}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            np.save(file, found)
        unfinished.replace(path)
    except OSError as error:
        LOG.warning("%s: which classes the images show is not kept (%s)", path, error.strerror)
        with suppress(OSError):
            unfinished.unlink()
