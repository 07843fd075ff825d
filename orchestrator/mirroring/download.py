"""A sweep that is kept at an address, taken up on this machine: to be run here, or to be looked at."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.mirroring.lease import Lease
from segsweep.orchestrator.mirroring.ledger import Ledger, stamp
from segsweep.orchestrator.mirroring.places import address_of, reading_storage, working_storage
from segsweep.orchestrator.mirroring.upload import KEPT, PART, part_name
from segsweep.orchestrator.progress import Announce
from segsweep.orchestrator.record.journal import JOURNAL, is_locked
from segsweep.trainables.addresses import Address, Remote, Remotes
from segsweep.trainables.cache.staging import AT_ONCE
from segsweep.trainables.catalog import did_you_mean
from segsweep.trainables.components import DataError

FETCHED = ".fetched"  # the end of a folder's name until it has its journal


def taken_up(address: Address, announce: Announce, *, trials: bool = True) -> Path:
    """The folder here with all that the address has of the sweep, or more; from now on this process may write there.

    trials: their files too, which nodes of a cluster fetch themselves.
    Raises InputError: no such sweep, another driver runs it, the address does not answer, a full disk.
    """
    folder = working_storage(address.parent) / address.name
    if _journal(folder) and is_locked(folder):
        return folder  # whoever tries to run it is told so
    try:
        remotes, ours = Remotes(address), _journal(folder)
        if not (_journal_at(address, remotes) or ours):
            raise _unknown(address)
        Lease(address).take(announce)
        theirs = _journal_at(address, remotes)  # now that nobody else writes there
        there = {remote.name: remote for remote in remotes.files()}
        if not ours.startswith(theirs):
            _put_aside(folder, worth_keeping=not theirs.startswith(ours), announce=announce)
            announce(f"{address}: fetching it to {folder}")
            _begin(folder, theirs)
        _forget(folder, remotes, there, _journal(folder), sent=len(theirs))
        if trials:
            _bring_trials(folder, remotes, there)
    except DataError as error:
        raise InputError(Mistake(str(address), _less(str(error), address))) from error
    except OSError as error:
        remedy = "make room there, or set SEGSWEEP_CACHE to a folder on a disk that has it"
        raise InputError(Mistake(str(folder), f"cannot be written ({error.strerror or error}); {remedy}")) from error
    return folder


def looked_at(address: Address) -> Path:
    """A folder with the journal as it is now: that in which the sweep runs, or ran last, here; else a copy.

    Raises InputError: no such sweep, the address does not answer.
    """
    folder = working_storage(address.parent) / address.name
    ours = _journal(folder)
    if ours and is_locked(folder):
        return folder
    try:
        theirs = _journal_at(address, Remotes(address))
    except DataError as error:
        raise InputError(Mistake(str(address), _less(str(error), address))) from error
    if not (theirs or ours):
        raise _unknown(address)
    if ours.startswith(theirs):
        return folder
    copy = reading_storage(address.parent) / address.name
    if _journal(copy) == theirs:
        return copy  # as the same file: whoever watches it has not to read it again
    copy.mkdir(parents=True, exist_ok=True)
    beside = copy / f"journal.{os.getpid()}"
    beside.write_bytes(theirs)
    beside.replace(copy / JOURNAL)
    return copy


def names_at(storage: Address) -> list[str]:
    """The sweeps that are kept there. Raises InputError where the address does not answer."""
    try:
        return Remotes(storage).folders()
    except DataError as error:
        raise InputError(Mistake(str(storage), _less(str(error), storage))) from error


def journals_at(storage: Address) -> list[Remote]:
    """The parts of all journals there, by the sweep's name. Raises InputError where nothing is, or none answers."""
    try:
        return [file for file in Remotes(storage).files() if "/journal/" in file.name]
    except DataError as error:
        raise InputError(Mistake(str(storage), _less(str(error), storage))) from error


def newest_at(storage: Address) -> Address:
    """The sweep there whose journal changed last. Raises InputError."""
    if not (journals := journals_at(storage)):
        raise InputError(Mistake(str(storage), "holds no sweep; start one with `segsweep launch FILE`"))
    return storage / max(journals, key=lambda file: file.changed_ns or 0).name.partition("/")[0]


def _unknown(address: Address) -> InputError:
    names = names_at(address.parent)
    there = f" There are: {', '.join(names)}" if names else " There is none"
    return InputError(
        Mistake(str(address.parent), f"no sweep '{address.name}'.{did_you_mean(address.name, names)}{there}")
    )


def _journal(folder: Path) -> bytes:
    """Its whole lines; b"" if there are none."""
    try:
        found = (folder / JOURNAL).read_bytes()
    except FileNotFoundError:
        return b""
    return found[: found.rfind(b"\n") + 1]


def _journal_at(address: Address, remotes: Remotes) -> bytes:
    """Raises InputError for one with a part that is missing, DataError."""
    parts: list[bytes] = []
    for number in count():
        part = remotes.read(part_name(number))
        if part is None:
            break
        if parts and len(parts[-1]) != PART:
            what = f"{part_name(number - 1)} is damaged ({len(parts[-1])} bytes of {PART})"
            raise InputError(
                Mistake(str(address), f"{what}; restore it from a copy, such as a version of the bucket's")
            )
        parts.append(part)
    whole = b"".join(parts)
    return whole[: whole.rfind(b"\n") + 1]


def _put_aside(folder: Path, *, worth_keeping: bool, announce: Announce) -> None:
    """Make room for what the address has: another machine went on from there."""
    if not folder.exists():
        return
    if not worth_keeping:  # the beginning of what is there
        shutil.rmtree(folder)
        return
    aside = next(path for n in count(1) if not (path := folder.with_name(f"{folder.name}.{n}")).exists())
    folder.rename(aside)
    announce(f"another machine went on with {folder.name}; what this one had not sent by then is kept in {aside}")


def _begin(folder: Path, journal: bytes) -> None:
    """With the journal alone, in one step."""
    new = folder.with_name(f"{folder.name}{FETCHED}")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    (new / JOURNAL).write_bytes(journal)
    Ledger(len(journal), away=True).save(new)
    new.rename(folder)


def _bring_trials(folder: Path, remotes: Remotes, there: dict[str, Remote]) -> None:
    """To be written here from now on, unless they are already. A fetch that was cut off begins again."""
    ledger = Ledger.load(folder)
    if not ledger.away:
        return
    shutil.rmtree(folder / "trials", ignore_errors=True)  # copies, which may be old
    trials = _trials(_journal(folder))
    sent = fetch_files(remotes, [remote for name, remote in there.items() if _is_kept(name, trials)], folder)
    Ledger(ledger.journal, sent).save(folder)


def fetch_files(remotes: Remotes, wanted: Sequence[Remote], folder: Path) -> dict[str, str]:
    """Their stamps, by name. Raises DataError; OSError where the disk is full."""
    for remote in wanted:
        (folder / remote.name).parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda remote: _fetch_file(remotes, remote, folder / remote.name), wanted))
    return {remote.name: stamp((folder / remote.name).stat()) for remote in wanted}


def bring(folder: Path, trial: str, name: str) -> None:
    """A file of a trial that nodes write, as it is now, to where it would lie here. Raises DataError, OSError."""
    address = address_of(folder)
    if address is None or not Ledger.load(folder).away:
        return
    if (contents := Remotes(address).read(f"trials/{trial}/{name}")) is not None:
        path = folder / "trials" / trial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{name}.tmp")
        beside.write_bytes(contents)
        beside.replace(path)


def _fetch_file(remotes: Remotes, remote: Remote, to: Path) -> None:
    remotes.fetch(remote, to)
    if (size := to.stat().st_size) != remote.size:
        raise DataError(f"{remote.path}: {size} bytes came of {remote.size}. Try again")


def _forget(folder: Path, remotes: Remotes, there: dict[str, Remote], journal: bytes, *, sent: int) -> None:
    """Whatever the journal does not know: a driver made it in its last seconds, and its trials may become others.

    And what its workers claimed, so that those that are still there write no more.
    """
    trials = _trials(journal)
    known = {name for name in there if _is_kept(name, trials)}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(remotes.remove, (name for name in there if name.startswith("trials/") and name not in known)))
    ledger = Ledger.load(folder)
    sent_files = {name: stamp for name, stamp in ledger.files.items() if name in known}
    Ledger(min(ledger.journal, sent), sent_files, ledger.away).save(folder)


def _is_kept(name: str, trials: set[str]) -> bool:
    folder, _, rest = name.partition("/")
    trial, _, file = rest.partition("/")
    return folder == "trials" and trial in trials and file in KEPT


def _trials(journal: bytes) -> set[str]:
    lines = (line for line in journal.splitlines() if b'"event":"trial"' in line)
    return {event["trial"] for event in map(json.loads, lines) if event["event"] == "trial"}


def _less(message: str, address: Address) -> str:
    """Without the address, which is the place of the mistake."""
    return message.removeprefix(f"{address}: ")
