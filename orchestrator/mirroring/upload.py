"""From a sweep's folder to its address. Whoever stops it at any moment leaves something there that can be gone on from.

Trials first, and then the journal as it was before: so what the journal there says has been saved there too; and only
then goes what that makes superfluous. Of a trial the files go up in the order in which training writes them (best
before last), each as it was at one moment. Trials that nodes of a cluster train are sent by these (nodes.py).
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from segsweep.orchestrator.mirroring.ledger import Ledger, stamp
from segsweep.orchestrator.record.journal import JOURNAL
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
        self._collected: set[str] = set()

    @property
    def away(self) -> bool:
        """Nodes send the trials."""
        return self._ledger.away

    def collected(self, trial: str) -> None:
        """Its last checkpoint is needed no more."""
        self._collected.add(trial)

    def give_away(self) -> None:
        """From now on nodes write the files of trials; the address has all of them. Raises DataError, OSError."""
        if self.away:
            return
        self.send()
        self._ledger.files, self._ledger.away = {}, True
        self._ledger.save(self._folder)
        shutil.rmtree(self._folder / "trials", ignore_errors=True)

    def send(self) -> None:
        """All that is new. Raises DataError, OSError: then call it again."""
        due = self._due()  # of what the journal tells why
        journal = self._new_lines()
        try:
            with ThreadPoolExecutor(AT_ONCE) as threads:
                list(threads.map(self._send_trial, filter(self._stale, self._trials())))
                self._send_journal(journal)
                list(threads.map(self._remove_last, due))
        finally:
            self._ledger.save(self._folder)

    @property
    def missing(self) -> int:
        """How many files the address lacks, the journal included."""
        stale = sum(bool(self._stale(trial)) for trial in self._trials())
        return stale + len(self._due()) + bool(len(self._new_lines()) + self._part_began() > self._ledger.journal)

    def _part_began(self) -> int:
        return self._ledger.journal // PART * PART

    def _new_lines(self) -> bytes:
        """From the beginning of the last part that was sent, to the last whole line."""
        with (self._folder / JOURNAL).open("rb") as file:
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
        return [] if self.away else sorted((self._folder / "trials").glob("*/"))

    def _due(self) -> set[str]:
        """Trials whose last checkpoint is to be removed there."""
        return set(self._collected) if self.away else {t.name for t in self._trials() if self._is_collected(t)}

    def _stale(self, trial: Path) -> list[str]:
        """Files that are not at the address as they are here."""
        return [name for name in KEPT if (now := _stamp(trial / name)) and now != self._sent(trial, name)]

    def _sent(self, trial: Path, name: str) -> str | None:
        return self._ledger.files.get(_key(trial, name))

    def _is_collected(self, trial: Path) -> bool:
        """last.pt is missing for a moment whenever it is replaced; the one before is there then."""
        return bool(self._sent(trial, LAST)) and not any((trial / name).exists() for name in (PREVIOUS, LAST))

    def _send_trial(self, trial: Path) -> None:
        send_files(self._remotes, trial, f"trials/{trial.name}/", self._ledger.files)

    def _remove_last(self, trial: str) -> None:
        key = f"trials/{trial}/{LAST}"
        self._remotes.remove(key)
        self._ledger.files.pop(key, None)
        self._collected.discard(trial)


def send_files(remotes: Remotes, trial: Path, prefix: str, sent: dict[str, str]) -> None:
    """What is new of a trial's folder. prefix: of names at the address; sent: name there -> stamp, brought up to date.

    Raises DataError, OSError.
    """
    with ExitStack() as stack:
        # opened the other way round: a file may be newer than those that are sent after it, but never older
        opened = {name: _opened(trial / name, stack) for name in reversed(KEPT)}
        for name in KEPT:
            if (file := opened[name]) is None:
                continue
            now = stamp(os.fstat(file.fileno()))
            if sent.get(key := f"{prefix}{name}") != now:
                # the same contents, should it be replaced meanwhile
                remotes.put(key, Path(f"/dev/fd/{file.fileno()}"))
                sent[key] = now


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
