"""Where data and caches lie: environment variables, each with a default. And how a trial's files are called."""

from __future__ import annotations

import os
from pathlib import Path

from segsweep.trainables.addresses import Address, is_address

DATA_VARIABLE = "SEGSWEEP_DATA"
CACHE_VARIABLE = "SEGSWEEP_CACHE"
CACHE_LIMIT_VARIABLE = "SEGSWEEP_CACHE_GIB"

LAST, PREVIOUS, BEST = "last.pt", "last.prev.pt", "best.pt"
CONFUSIONS, TEST_CONFUSIONS = "confusions.npz", "test_confusions.npz"
WEIGHTS, CONFIG = "model.safetensors", "config.json"  # of an exported network, see prediction/portable.py


def data_folder() -> Path | Address:
    """What relative dataset roots are relative to: $SEGSWEEP_DATA, else the current folder. Raises DataError."""
    if is_address(given := os.environ.get(DATA_VARIABLE, "")):
        return Address.of(given)
    return Path(os.environ.get(DATA_VARIABLE) or Path.cwd()).expanduser().resolve()


def cache_folder() -> Path:
    """Where decoded images lie: $SEGSWEEP_CACHE, else $XDG_CACHE_HOME/segsweep, else ~/.cache/segsweep."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").resolve() / "segsweep"


def variables() -> dict[str, str]:
    """Both places as environment variables, for worker processes: their current folder is another one."""
    return {DATA_VARIABLE: str(data_folder()), CACHE_VARIABLE: str(cache_folder())}


def file_name(name: str) -> str:
    """A dataset's name as a part of a file's: readable, and without what a file's name cannot have."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
