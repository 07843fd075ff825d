"""A trial on a node of a cluster, of a sweep that is kept at an address: no node's disk holds anything that is missed.

The node fetches what earlier attempts saved, wherever they ran, trains in a scratch folder, and sends the files of an
epoch before it tells the driver of it. So what the journal tells of is at the address, whichever node is lost.

An attempt claims the trial there, as it claims its folder (training/checkpoint.py): a worker that outlives its driver,
or a node that was taken for lost, finds that another one has claimed it, and writes no more.
"""

from __future__ import annotations

import fcntl
import logging
import platform
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from segsweep.orchestrator.backends import Report, Steppable, TrialFactory
from segsweep.orchestrator.mirroring.download import fetch_files
from segsweep.orchestrator.mirroring.lease import LEASE
from segsweep.orchestrator.mirroring.upload import KEPT, send_files
from segsweep.trainables.addresses import Address, Remotes, is_outage
from segsweep.trainables.components import DataError
from segsweep.trainables.places import cache_folder
from segsweep.trainables.storage import STORAGE

if TYPE_CHECKING:
    from segsweep.orchestrator.driving.assignment import Assignment

logger = logging.getLogger(__name__)

T = TypeVar("T")

SCRATCH = "scratch"  # in the cache folder
CLAIM = "attempt"  # of a trial: "3 by 8f0a..."
PATIENCE_S = 300.0  # with an address that does not answer
BACK_OFF_S = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class OnNodes:
    """The factory of trials that nodes train."""

    address: Address  # of the sweep
    factory: TrialFactory

    def __call__(self, assignment: Assignment) -> Steppable:
        """Raises DataError, OSError for a full disk, and what the factory raises."""
        return NodeTrial(self.address, assignment, self.factory)


class NodeTrial:
    def __init__(self, address: Address, assignment: Assignment, factory: TrialFactory) -> None:
        self._driver_s = assignment.folder
        self._address = address / "trials" / assignment.trial
        self._claim = f"{assignment.attempt} by {secrets.token_hex(8)}".encode()
        with ExitStack() as undo:
            self._folder = undo.enter_context(scratch()) / "trials" / assignment.trial
            self._folder.mkdir(parents=True)
            self._remotes, self._sent = patiently(lambda: self._take_up(address, assignment.attempt))
            self._trial = factory(replace(assignment, folder=self._folder))
            undo.callback(self._trial.close)
            self._undo = undo.pop_all()

    @property
    def facts(self) -> Mapping[str, float | str]:
        """Paths as they are where the driver's machine has the files, or `segsweep sync` brings them."""
        here, there = str(self._folder), str(self._driver_s)
        told = self._trial.facts.items()
        return {name: fact.replace(here, there) if isinstance(fact, str) else fact for name, fact in told}

    def step(self) -> Report:
        report = self._trial.step()
        patiently(self._send)
        return report

    def close(self) -> None:
        self._undo.close()

    def _take_up(self, sweep: Address, attempt: int) -> tuple[Remotes, dict[str, str]]:
        """What is there of the trial, brought here and from now on this attempt's to replace."""
        if Remotes(sweep).read(LEASE) is None:
            remedy = "give an address, and an endpoint, that mean the same on every node"
            raise DataError(f"{sweep}: the sweep is not there, seen from this node; {remedy}", STORAGE)
        remotes = Remotes(self._address)
        found = remotes.read(CLAIM)
        if found is not None and int(found.split()[0]) > attempt:
            raise self._stale(found)
        remotes.write(CLAIM, self._claim)
        wanted = [remote for remote in remotes.files() if remote.name in KEPT]
        return remotes, fetch_files(remotes, wanted, self._folder)

    def _send(self) -> None:
        found = self._remotes.read(CLAIM)
        if found != self._claim:
            raise self._stale(found)
        send_files(self._remotes, self._folder, "", self._sent)

    def _stale(self, found: bytes | None) -> Exception:
        from segsweep.trainables.training.checkpoint import StaleAttemptError  # imports torch

        why = f"attempt {found.decode()} owns this trial now" if found else "another driver took the sweep over"
        return StaleAttemptError(f"{self._address}: {why}; attempt {self._claim.decode()} may no longer write")


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on this disk that ends with the block; those that killed workers left end now."""
    parent = cache_folder() / SCRATCH
    parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with (parent / "lock").open("a") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)  # a folder that is just made looks like one that was left
            for folder in parent.glob("*/"):
                _remove_unless_used(folder)
            made = Path(tempfile.mkdtemp(dir=parent))
            used = stack.enter_context((made / "lock").open("a"))
            fcntl.flock(used, fcntl.LOCK_EX)
        stack.callback(shutil.rmtree, made, ignore_errors=True)
        yield made


def _remove_unless_used(folder: Path) -> None:
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(folder, ignore_errors=True)


def patiently(act: Callable[[], T]) -> T:
    """What `act` returns, which needs the address; tried again for PATIENCE_S in an outage. Raises DataError."""
    deadline, failures = time.monotonic() + PATIENCE_S, 0
    while True:
        try:
            return act()
        except DataError as error:
            if not is_outage(error) or time.monotonic() >= deadline:
                raise DataError(f"node {platform.node()}: {error}", STORAGE) from error
            logger.warning("%s; trying again for %.0f s", error, deadline - time.monotonic())
        time.sleep(BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)])
        failures += 1
