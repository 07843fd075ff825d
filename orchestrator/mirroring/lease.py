"""Whose turn it is to write at an address: one driver at a time, wherever it runs.

A lock that ends with its holder is more than object stores offer. So the holder renews a small object, and whoever
finds one that was not renewed for LEASE_S may take it over. Clocks of machines have to agree within some seconds.
"""

from __future__ import annotations

import json
import os
import platform
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.mirroring.places import address_of
from segsweep.orchestrator.progress import Announce
from segsweep.orchestrator.record.journal import steady_clock
from segsweep.trainables.addresses import Address, Remotes
from segsweep.trainables.components import DataError

LEASE_S = 60.0
RENEWED_EVERY_S = 10.0
LEASE = "lease.json"


class LostError(Exception):
    """Somebody else has the lease now: nothing more may be written at the address."""


@dataclass(frozen=True)
class Holder:
    host: str
    pid: int
    machine: str  # as long as it runs: a process id means something there
    time: float  # of the last renewal, seconds since 1970

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_us(self) -> bool:
        return (self.machine, self.pid) == (_machine(), os.getpid())

    def is_gone(self, now: float) -> bool:
        """It died: known at once of this machine, and of others when the lease runs out."""
        return now - self.time > LEASE_S or (self.machine == _machine() and not _runs(self.pid))


class Lease:
    """Threads may share one."""

    def __init__(self, address: Address, *, clock: Callable[[], float] | None = None) -> None:
        """address: of the sweep. clock: seconds since 1970; default: steady_clock(). Raises DataError."""
        self.address = address
        self._remotes = Remotes(address)
        self._clock = clock or steady_clock()
        self._renewed = float("-inf")
        self._one_at_a_time = threading.Lock()

    def holder(self) -> Holder | None:
        """Whoever wrote it last. Raises DataError."""
        found = self._remotes.read(LEASE)
        with suppress(ValueError, TypeError):
            return Holder(**json.loads(found)) if found else None
        return None

    def others(self) -> Holder | None:
        """Another process that holds it now. Raises DataError."""
        found = self.holder()
        return None if found is None or found.is_us or found.is_gone(self._clock()) else found

    def take(self, announce: Announce) -> None:
        """Raises InputError if another driver holds it, DataError."""
        if found := self.others():
            raise InputError(Mistake(str(self.address), self._refusal(found)))
        if (before := self.holder()) is not None and not before.is_us:
            ago = f"renewed its lease {self._clock() - before.time:.0f} s ago for the last time"
            announce(f"{self.address}: taken over from {before}, which {ago}")
        self._write()
        if found := self.others():  # two came at once, and it was the last
            raise InputError(Mistake(str(self.address), self._refusal(found)))

    def renew(self) -> None:
        """Once it is due. Raises LostError, DataError."""
        with self._one_at_a_time:
            if self._clock() - self._renewed < RENEWED_EVERY_S / 2:
                return
            found = self.holder()
            if found is not None and not found.is_us:
                raise LostError(f"{found} goes on with {self.address}: this one may write there no more")
            self._write()

    def release(self) -> None:
        """Raises DataError."""
        if (found := self.holder()) is not None and found.is_us:
            self._remotes.remove(LEASE)

    def _write(self) -> None:
        now = self._clock()
        us = Holder(platform.node(), os.getpid(), _machine(), now)
        self._remotes.write(LEASE, json.dumps(asdict(us)).encode())
        self._renewed = now

    def _refusal(self, found: Holder) -> str:
        ago = max(0.0, self._clock() - found.time)
        wait = f"if that one is dead, try again in {LEASE_S - ago:.0f} s"
        return f"{found} runs this sweep (it said so {ago:.0f} s ago); wait for it or stop it there; {wait}"


def runs_elsewhere(folder: Path) -> Holder | None:
    """Who runs the sweep that is kept at an address; None if nobody does, or the address does not answer."""
    with suppress(DataError):
        return None if (address := address_of(folder)) is None else Lease(address).others()
    return None


def _machine() -> str:
    """Of a container too, which has its own process ids; another one after every start."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return platform.node()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
