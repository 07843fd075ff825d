"""From a sweep's folder to its address. Whoever stops it at any moment leaves something there that can be gone on from.

Trials first, and then the journal as it was before: so what the journal there says has been saved there too. Of a trial
the files go up in the order in which training writes them (best before last), each as it was at one moment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from segsweep.orchestrator.mirroring.ledger import Ledger, stamp
from segsweep.trainables.addresses import Address, Remotes
from segsweep.trainables.places import BEST, CONFUSIONS, LAST, PREVIOUS, TEST_CONFUSIONS

PART = 2**20  # bytes of the journal in one object: what is written anew when a line is added
KEPT = (CONFUSIONS, BEST, TEST_CONFUSIONS, LAST)  # in the order in which a trial writes them
AT_ONCE = 4  # trials


class Uploads:
    def __init__(self, folder: Path, address: Address) -> None:
        """Both of the sweep. Raises DataError."""
        self._folder = folder
        self._remotes = Remotes(address)
        self._ledger = Ledger.load(folder)

    def send(self) -> None:
        """All that is new. Raises DataError, OSError: then call it again."""
        journal = self._new_lines()
        try:
            with ThreadPoolExecutor(AT_ONCE) as threads:
                list(threads.map(self._send_trial, self._changed()))
            self._send_journal(journal)
        finally:
            self._ledger.save(self._folder)

    @property
    def missing(self) -> int:
        """How many files the address lacks, the journal included."""
        stale = sum(bool(self._stale(trial)) for trial in self._trials())
        return stale + bool(len(self._new_lines()) + self._part_began() > self._ledger.journal)

    def _part_began(self) -> int:
        return self._ledger.journal // PART * PART

    def _new_lines(self) -> bytes:
        """From the beginning of the last part that was sent, to the last whole line."""
        with (self._folder / "journal.jsonl").open("rb") as file:
            file.seek(self._part_began())
            found = file.read()
        return found[: found.rfind(b"\n") + 1]

    def _send_journal(self, lines: bytes) -> None:
        began = self._part_began()
        if began + len(lines) <= self._ledger.journal:
            return
        for offset in range(0, len(lines), PART):
            self._remotes.write(part_name((began + offset) // PART), lines[offset : offset + PART])
            self._ledger.journal = began + min(offset + PART, len(lines))

    def _trials(self) -> list[Path]:
        return sorted((self._folder / "trials").glob("*/"))

    def _changed(self) -> Iterator[Path]:
        return (trial for trial in self._trials() if self._stale(trial) or self._is_collected(trial))

    def _stale(self, trial: Path) -> list[str]:
        """Files that are not at the address as they are here."""
        return [name for name in KEPT if (now := _stamp(trial / name)) and now != self._sent(trial, name)]

    def _sent(self, trial: Path, name: str) -> str | None:
        return self._ledger.files.get(_key(trial, name))

    def _is_collected(self, trial: Path) -> bool:
        """last.pt is missing for a moment whenever it is replaced; the one before is there then."""
        return bool(self._sent(trial, LAST)) and not any((trial / name).exists() for name in (PREVIOUS, LAST))

    def _send_trial(self, trial: Path) -> None:
        if self._is_collected(trial):
            self._remotes.remove(_key(trial, LAST))
            self._ledger.files.pop(_key(trial, LAST), None)
        with ExitStack() as stack:
            # opened the other way round: a file may be newer than those that are sent after it, but never older
            opened = {name: _opened(trial / name, stack) for name in reversed(KEPT)}
            for name in KEPT:
                if (file := opened[name]) is not None:
                    self._send_file(_key(trial, name), file)

    def _send_file(self, key: str, file: BinaryIO) -> None:
        now = stamp(os.fstat(file.fileno()))
        if self._ledger.files.get(key) != now:
            self._remotes.put(
                key, Path(f"/dev/fd/{file.fileno()}")
            )  # the same contents, should it be replaced meanwhile
            self._ledger.files[key] = now


def part_name(number: int) -> str:
    return f"journal/{number:05d}"


def _key(trial: Path, name: str) -> str:
    return f"trials/{trial.name}/{name}"


def _stamp(path: Path) -> str:
    """ "" if it is not there."""
    try:
        return stamp(path.stat())
    except FileNotFoundError:
        return ""


def _opened(path: Path, stack: ExitStack) -> BinaryIO | None:
    try:
        return stack.enter_context(path.open("rb"))
    except FileNotFoundError:
        return None
