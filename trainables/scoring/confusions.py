"""The confusion matrix of every image of a split, in one small file: intervals and paired tests need no GPU again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.int64]

_ALL = [-1]  # how a file says that all classes are scored


class SparseMatrix(NamedTuple):
    """The cells of one (C, C) matrix that are not 0. Few are: an image shows few classes, confused with few others."""

    cells: npt.NDArray[np.uint16]  # (K,) truth * C + prediction; C is at most 255
    counts: npt.NDArray[np.uint32]  # (K,) pixels


@dataclass(frozen=True)
class Confusions:
    """One matrix an image: rows are truth, columns prediction, at original label size, void left out."""

    ids: tuple[str, ...]  # of the N images, in the order of their split
    classes: tuple[str, ...]
    epoch: int  # after which they were made: the trial's best
    matrices: tuple[SparseMatrix, ...]
    groups: tuple[str, ...] = ()  # of the N images, see `Sample.group`; empty where nobody knows
    scored: tuple[int, ...] | None = None  # see `DatasetCard.scored`

    def matrix(self, index: int) -> Matrix:
        """(C, C) int64 of one image; all 0 where everything is void."""
        size = len(self.classes)
        dense = np.zeros(size * size, np.int64)
        dense[self.matrices[index].cells] = self.matrices[index].counts
        return dense.reshape(size, size)

    def total(self) -> Matrix:
        """(C, C) int64: the matrix of the split, from which the trial's scores were computed."""
        size = len(self.classes)
        return sum((self.matrix(index) for index in range(len(self.ids))), np.zeros((size, size), np.int64))


def sparse(matrix: Matrix) -> SparseMatrix:
    """matrix: (C, C), C at most 255."""
    flat = matrix.ravel()
    cells = np.flatnonzero(flat)
    return SparseMatrix(cells.astype(np.uint16), flat[cells].astype(np.uint32))


def save_confusions(file: IO[bytes], confusions: Confusions) -> None:
    """Compressed: 2,000 images of 150 classes take about a megabyte."""
    matrices = confusions.matrices
    np.savez_compressed(
        file,
        ids=np.array(confusions.ids, np.str_),
        classes=np.array(confusions.classes, np.str_),
        groups=np.array(confusions.groups, np.str_),
        scored=np.array(_ALL if confusions.scored is None else confusions.scored, np.int64),
        epoch=np.array(confusions.epoch),
        lengths=np.array([len(matrix.cells) for matrix in matrices], np.int64),
        cells=_joined((matrix.cells for matrix in matrices), np.uint16),
        counts=_joined((matrix.counts for matrix in matrices), np.uint32),
    )


def _joined(parts: Iterable[npt.NDArray[np.generic]], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    return np.concatenate([np.zeros(0, dtype), *parts])


def load_confusions(path: str | Path) -> Confusions:
    """What a trial left beside its best checkpoint. Raises FileNotFoundError, or ValueError if the file is damaged."""
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            ends = np.cumsum(stored["lengths"])[:-1]
            split = zip(np.split(stored["cells"], ends), np.split(stored["counts"], ends), strict=True)
            scored = stored["scored"].tolist() if "scored" in stored else _ALL  # older files have neither
            return Confusions(
                groups=tuple(stored["groups"].tolist()) if "groups" in stored else (),
                scored=None if scored == _ALL else tuple(scored),
                ids=tuple(stored["ids"].tolist()),
                classes=tuple(stored["classes"].tolist()),
                epoch=int(stored["epoch"]),
                matrices=tuple(SparseMatrix(cells, counts) for cells, counts in split),
            )
    except OSError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise half a dozen types for a damaged file
        raise ValueError(f"{path}: no readable confusion matrices: {error}") from error
