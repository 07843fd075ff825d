"""Sweeps that are kept at an address: journals that changed are fetched again while somebody looks."""

from __future__ import annotations

import threading
import time
from itertools import groupby
from pathlib import Path

from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.mirroring.download import journals_at, looked_at
from segsweep.trainables.addresses import Address

EVERY_S = 15.0  # no more often is the address asked
FIRST_S = 10.0  # so long whoever comes first waits for it


class Fetched:
    """Their folders here."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.folders: dict[str, Path] = {}  # by the sweep's name
        self.problem = ""  # why there are none, or nothing new
        self._seen: dict[str, tuple[str, ...]] = {}  # of each journal, when it was fetched
        self._thread: threading.Thread | None = None
        self._asked_s = 0.0  # monotonic
        self._lock = threading.Lock()

    def look(self) -> None:
        """Beside whoever asks."""
        with self._lock:
            if self._thread is not None and (self._thread.is_alive() or time.monotonic() - self._asked_s < EVERY_S):
                return
            is_first, self._asked_s = self._thread is None, time.monotonic()
            self._thread = threading.Thread(target=self._fetch, name="fetch", daemon=True)
            self._thread.start()
            if is_first:
                self._thread.join(FIRST_S)

    def _fetch(self) -> None:
        try:
            parts = groupby(journals_at(self.address), lambda file: file.name.partition("/")[0])
            there = {name: tuple(part.tag for part in of_one) for name, of_one in parts}
            self.folders = {name: folder for name, folder in self.folders.items() if name in there}
            for name, tags in there.items():
                if self._seen.get(name) != tags:
                    self.folders = {**self.folders, name: looked_at(self.address / name)}
                    self._seen[name] = tags
            self.problem = ""
        except InputError as error:
            self.problem = str(error)
