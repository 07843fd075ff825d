"""A trial's folder on disk: `last.pt` (all that exact resume needs), `best.pt` (all that prediction needs),
`confusions.npz` (the matrix of every validation image, of the epoch in best.pt), `test_confusions.npz` (likewise, of a
trial that scores the test split), `attempt`.

Files are replaced atomically, so a kill at any moment leaves the old or the new one, never half of one. The `last.pt`
before the present one is kept as `last.prev.pt`: should storage lose the newest, one epoch is lost and not the trial.

A worker can outlive its killed driver by seconds and meet the attempt that replaces it. So each attempt claims the
folder with its number, and whoever finds a higher one there may no longer write.

Storage that is full, or stays away (storage.py), ends an attempt with StorageError, and leaves what there was.
"""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, NotRequired, TypedDict, cast

import torch

from segsweep.trainables.places import BEST, CONFUSIONS, LAST, PREVIOUS, TEST_CONFUSIONS
from segsweep.trainables.scoring.confusions import Confusions, save_confusions
from segsweep.trainables.storage import Counter, StorageError, patiently
from segsweep.trainables.weights.loading import Saved

logger = logging.getLogger(__name__)

ATTEMPT = "attempt"


class Learned(TypedDict):
    """state_dicts, whose values torch leaves open, and how many images memory held."""

    model: dict[str, Any]
    optimizer: dict[str, Any]
    lr_schedule: dict[str, Any]
    average: NotRequired[dict[str, Any]]  # the network with averaged weights, where they are averaged
    scaler: NotRequired[dict[str, Any]]  # of the gradients, in fp16
    micro_batch: NotRequired[int]  # images at once, where memory did not hold a batch: trained on
    scoring_batch: NotRequired[int]  # and scored


class Last(Learned, Saved):
    """Contents of last.pt. No RNG: each epoch seeds its own from (seed, epoch), see trial.py."""

    config: str  # TrialConfig as JSON
    history: list[dict[str, float]]  # metrics of every epoch so far; [epoch - 1]


class Best(Saved):
    """Contents of best.pt."""

    config: str
    classes: list[str]
    epoch: int
    metrics: dict[str, float]
    model: dict[str, Any]


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read; the message names the file and the damage."""


class StaleAttemptError(RuntimeError):
    """A newer attempt owns the trial's folder: whoever gets this must stop and touch nothing."""


def load(path: Path) -> dict[str, Any]:
    """Plain values and CPU tensors of one checkpoint.

    Raises FileNotFoundError, or CheckpointError if the file is truncated, damaged or holds more than plain data.
    """
    with path.open("rb") as file:
        try:
            if damaged := zipfile.ZipFile(file).testzip():  # torch itself loads flipped bits without a word
                raise CheckpointError(f"checksum of {damaged} is wrong")
            file.seek(0)
            return cast("dict[str, Any]", torch.load(file, map_location="cpu", weights_only=True))
        except OSError:
            raise
        except Exception as error:  # zipfile and torch raise half a dozen types for a damaged file
            raise CheckpointError(f"{path}: not a readable checkpoint: {error}") from error


class CheckpointFolder:
    """One attempt's access to a trial's folder."""

    def __init__(self, path: Path, attempt: int) -> None:
        """Create the folder if missing and claim it for `attempt` (1, 2 ...).

        Raises StaleAttemptError, StorageError.
        """
        self.path = path
        self.attempt = attempt
        self.damage = ""  # what load_last could not read
        path.mkdir(parents=True, exist_ok=True)
        self._replace(ATTEMPT, lambda file: file.write(str(attempt).encode()))
        for leftover in path.glob("*.tmp"):  # of an attempt that was killed while it wrote
            leftover.unlink(missing_ok=True)

    def save_last(self, state: Last) -> None:
        """Replace last.pt durably, keeping the one before. Raises StaleAttemptError, StorageError."""
        self._replace(LAST, lambda file: torch.save(state, file), keep=PREVIOUS)

    def save_best(self, state: Best, confusions: Confusions) -> None:
        """Replace confusions.npz, then best.pt, durably. Raises StaleAttemptError, StorageError."""
        self._replace(CONFUSIONS, lambda file: save_confusions(file, confusions))
        self._replace(BEST, lambda file: torch.save(state, file))

    def save_test(self, confusions: Confusions) -> None:
        """Durably, of the epoch in best.pt. Raises StaleAttemptError, StorageError."""
        self._replace(TEST_CONFUSIONS, lambda file: save_confusions(file, confusions))

    def load_best(self) -> Best:
        """Raises FileNotFoundError, CheckpointError, StorageError."""
        return cast(Best, patiently(partial(load, self.path / BEST), self.path / BEST))

    def load_last(self) -> Last | None:
        """The newest readable state to resume from; None if there is none. `damage` tells what was passed over.

        Raises StorageError.
        """
        for name in (LAST, PREVIOUS):
            try:
                if (state := patiently(partial(self._load, name), self.path / name)) is not None:
                    return state
            except (CheckpointError, StorageError) as error:
                if isinstance(error, StorageError) and not self._is_there():
                    raise
                logger.warning("%s; going on without it", error)
                self.damage = f"{self.damage}; {error}".removeprefix("; ")
        return None

    def _load(self, name: str) -> Last | None:
        try:
            return cast(Last, load(self.path / name))
        except FileNotFoundError:
            (self.path / ATTEMPT).stat()  # raises if the whole folder is away: then nobody knows
            return None

    def _is_there(self) -> bool:
        """The folder is, and a file of it that cannot be read is damaged."""
        try:
            return bool((self.path / ATTEMPT).read_bytes())
        except OSError:
            return False

    def drop_previous(self) -> None:
        """Give back the space of last.prev.pt, once nothing will be resumed any more."""
        self._check_current()
        (self.path / PREVIOUS).unlink(missing_ok=True)

    def _replace(self, name: str, write: Callable[[IO[bytes]], object], keep: str | None = None) -> None:
        def needed() -> int:
            counter = Counter()
            write(cast("IO[bytes]", counter))
            return counter.size

        patiently(lambda: self._replace_once(name, write, keep), self.path / name, needed)

    def _replace_once(self, name: str, write: Callable[[IO[bytes]], object], keep: str | None) -> None:
        target = self.path / name
        temporary = self.path / f"{name}.{self.attempt}.{os.getpid()}.tmp"
        try:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            self._check_current()  # as late as can be: writing may have taken seconds
            if keep and target.exists():
                target.replace(self.path / keep)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(self.path)

    def _check_current(self) -> None:
        try:
            newest = int((self.path / ATTEMPT).read_text())
        except FileNotFoundError:
            return
        if newest > self.attempt:
            raise StaleAttemptError(
                f"{self.path}: attempt {newest} owns this trial now; attempt {self.attempt} may no longer write"
            )


def _sync_folder(path: Path) -> None:
    """Make renames inside `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
