"""The matrix of every image in one file: exact, small, and of the epoch that best.pt holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segsweep.trainables.scoring.confusions import Confusions, load_confusions, save_confusions, sparse


def made(images: int, classes: int, present: int, seed: int = 0) -> tuple[Confusions, np.ndarray]:
    """Matrices with `present` cells each, the second of an image that is all void."""
    rng = np.random.default_rng(seed)
    dense = np.zeros((images, classes, classes), np.int64)
    for matrix in dense:
        matrix.ravel()[rng.choice(classes**2, present, replace=False)] = rng.integers(1, 2**31, present)
    dense[1] = 0
    ids = tuple(f"frankfurt/é {i}" for i in range(images))
    return Confusions(ids, tuple(f"c{i}" for i in range(classes)), 7, tuple(map(sparse, dense))), dense


def saved(confusions: Confusions, path: Path) -> Path:
    with path.open("wb") as file:
        save_confusions(file, confusions)
    return path


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    confusions, dense = made(5, 255, 40)
    found = load_confusions(str(saved(confusions, tmp_path / "a 'b'.npz")))
    assert (found.ids, found.classes, found.epoch) == (confusions.ids, confusions.classes, 7)
    assert all(np.array_equal(found.matrix(i), dense[i]) for i in range(5))
    assert np.array_equal(found.total(), dense.sum(axis=0))
    assert found.total().dtype == np.int64


def test_counts_that_four_bytes_hold_in_one_image_may_add_up_to_more() -> None:
    matrix = np.array([[2**32 - 1, 0], [0, 0]], np.int64)
    assert Confusions(("a", "b"), ("x", "y"), 1, (sparse(matrix),) * 2).total()[0, 0] == 2 * (2**32 - 1)


def test_two_thousand_images_of_150_classes_take_a_few_megabytes(tmp_path: Path) -> None:
    confusions, _ = made(2000, 150, 150)  # far more confusion than a trained network shows
    assert saved(confusions, tmp_path / "confusions.npz").stat().st_size < 3e6


@pytest.mark.parametrize("how", ["truncated", "empty", "text"])
def test_a_damaged_file_is_named(tmp_path: Path, how: str) -> None:
    path = saved(made(3, 4, 5)[0], tmp_path / "confusions.npz")
    path.write_bytes({"truncated": path.read_bytes()[:-300], "empty": b"", "text": b"no matrices"}[how])
    with pytest.raises(ValueError, match=r"confusions\.npz: no readable confusion matrices"):
        load_confusions(path)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="confusions"):
        load_confusions(tmp_path / "confusions.npz")
