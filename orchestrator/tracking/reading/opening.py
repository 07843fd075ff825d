"""The fastest way into a store."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.tracking.reading.client_store import ClientStore
from segsweep.orchestrator.tracking.reading.rest_store import RestStore
from segsweep.orchestrator.tracking.reading.sqlite_store import SqliteStore
from segsweep.orchestrator.tracking.reading.stored import Store, UnreadableError
from segsweep.orchestrator.tracking.store import sqlite_path, with_password

logger = logging.getLogger(__name__)


def open_store(uri: str) -> Store:
    """Raises InputError if the store does not answer; a SQLite file that is not there is not made."""
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        remedy = "run `segsweep launch FILE`, or name the store with --tracking-uri"
        raise InputError(Mistake(f"tracking URI {uri}", f"there is no such file yet; {remedy}"))
    try:
        if path is not None:
            return SqliteStore(path)
        if urlsplit(uri).scheme in ("http", "https"):
            return RestStore(with_password(uri))
    except UnreadableError:
        logger.debug("asking mlflow instead", exc_info=True)  # it knows more ways, or says what is wrong
    return ClientStore(uri)
