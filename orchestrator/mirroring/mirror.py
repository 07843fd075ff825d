"""Keeps the address of a sweep up to date with its folder and never gets in its way: an outage is waited out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segsweep.orchestrator.backends import TrialFactory
from segsweep.orchestrator.driving.halting import Halt
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.mirroring.lease import RENEWED_EVERY_S, Lease, LostError
from segsweep.orchestrator.mirroring.nodes import OnNodes
from segsweep.orchestrator.mirroring.places import address_of
from segsweep.orchestrator.mirroring.upload import Uploads
from segsweep.orchestrator.progress import Announce
from segsweep.orchestrator.record.journal import is_locked
from segsweep.trainables.addresses import Address
from segsweep.trainables.components import DataError

logger = logging.getLogger(__name__)

LOOKS_EVERY_S = 2.0
REST = 50  # pauses this many times as long as looking computed: the sweep's own thread needs the interpreter
BACK_OFF_S = (2.0, 5.0, 10.0, 20.0)
ENDING_S = 120.0  # how long the end of a sweep waits for its last files


class NoMirror:
    """Of a sweep that is kept in a folder, where all machines find it."""

    problem: str | None = None

    def trials(self, factory: TrialFactory) -> TrialFactory:
        """The same trials, whose files get to where the sweep is kept."""
        return factory

    def collected(self, trial: str) -> None:
        """Its last checkpoint is needed no more; whatever there was here is removed."""

    def start(self, halt: Callable[[Halt], None]) -> None:
        """There is nothing to send."""


class Mirror(NoMirror):
    """Two threads, from `start` until `close`: one sends what is new, one renews the lease while that takes long."""

    def __init__(self, folder: Path, address: Address, lease: Lease) -> None:
        """folder: the sweep's. Raises DataError."""
        self._address, self._lease = address, lease
        self._uploads = Uploads(folder, address)
        self._closing, self._ended = threading.Event(), threading.Event()
        self._deadline = float("inf")
        self._halt: Callable[[Halt], None] = lambda halt: None
        self._lost_to: LostError | None = None
        names = {"segsweep-mirror": self._send, "segsweep-lease": self._renew}
        self._threads = [threading.Thread(target=act, name=name, daemon=True) for name, act in names.items()]

    def trials(self, factory: TrialFactory) -> TrialFactory:
        return OnNodes(self._address, factory) if self._uploads.away else factory

    def collected(self, trial: str) -> None:
        self._uploads.collected(trial)

    def start(self, halt: Callable[[Halt], None]) -> None:
        """Once. halt: told if another driver has taken the sweep over, as it may after an outage."""
        self._halt = halt
        for thread in self._threads:
            thread.start()

    def close(self, timeout_s: float = ENDING_S) -> int:
        """Send what is left, and let others have the sweep. How many files the address lacks; `sync` sends them."""
        self._deadline = time.monotonic() + timeout_s
        self._closing.set()
        if self._threads[0].is_alive():
            self._threads[0].join(timeout_s)
        self._ended.set()
        if self._lost_to is not None:
            return 0
        with suppress(DataError):
            self._lease.release()
        return 0 if self._threads[0].ident is None else self._uploads.missing

    def _send(self) -> None:
        failures = 0
        while not self._ended.is_set():
            last_round = self._closing.is_set()  # asked before sending: what was written before close is sent
            began = time.thread_time()
            try:
                self._lease.renew()
                self._uploads.send()
                failures, self.problem = 0, None
            except LostError as error:
                self._lost(error)
            except Exception as error:  # the sweep goes on whatever happens to its copy
                failures += 1
                self.problem = str(error)
                logger.debug("sending failed", exc_info=True)
            if (last_round and not failures) or time.monotonic() >= self._deadline:
                return
            self._pause(failures, last_round, time.thread_time() - began)

    def _pause(self, failures: int, closing: bool, cpu_s: float) -> None:
        pause_s = BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1] if failures else max(LOOKS_EVERY_S, REST * cpu_s)
        if closing:  # the event is set and would not wait any more
            self._ended.wait(min(pause_s, 1.0))
        else:
            self._closing.wait(pause_s)

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_EVERY_S):
            try:
                self._lease.renew()
            except LostError as error:
                self._lost(error)
            except Exception:  # outages are told of by _send
                logger.debug("the lease is not renewed", exc_info=True)

    def _lost(self, error: LostError) -> None:
        self._lost_to = error
        self._ended.set()
        self.problem = str(error)
        self._halt(Halt(str(error)))


@contextmanager
def mirrored(folder: Path, announce: Announce, *, on_nodes: bool = False) -> Iterator[NoMirror]:
    """While the block runs, the sweep in `folder` is this process's, and where it is kept gets what is new.

    on_nodes: a cluster trains. Raises InputError if another driver holds it, or the address does not answer.
    """
    address = address_of(folder)
    if address is None:
        yield NoMirror()
        return
    try:
        lease = Lease(address)
        lease.take(announce)
        if on_nodes:
            Uploads(folder, address).give_away()
        mirror = Mirror(folder, address, lease)
    except DataError as error:
        raise InputError(Mistake(f"storage of {folder.name}", str(error))) from error
    try:
        yield mirror
    finally:
        if missing := mirror.close():
            logger.warning("%s lacks %d files; later: segsweep sync %s", address, missing, address)


def sync(folder: Path) -> int:
    """Send what the address of the sweep lacks, now. How many files that were; 0 for a sweep that is kept in a folder.

    Whoever calls it holds the lease. Raises InputError if the address does not answer.
    """
    if (address := address_of(folder)) is None or is_locked(folder):  # a driver sends them itself
        return 0
    try:
        uploads = Uploads(folder, address)
        missing = uploads.missing
        uploads.send()
        Lease(address).release()
    except DataError as error:
        raise InputError(Mistake(str(address), str(error))) from error
    return missing
