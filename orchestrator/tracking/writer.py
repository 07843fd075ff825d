"""Keeps MLflow up to date with a sweep and never gets in its way: an outage is waited out, a crash made up for."""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.tracking.sender import Sender
from segsweep.orchestrator.tracking.store import check, message_of

logger = logging.getLogger(__name__)

POLL_S = 1.0  # how far MLflow lags behind; what comes meanwhile shares its calls
REST = 4  # pauses this many times as long as sending computed: the sweep's own thread needs the interpreter
BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class TrackingWriter:
    """Follows the journal in a thread of its own, from `start` until `close`."""

    def __init__(self, folder: Path) -> None:
        """folder: the sweep's, with journal.jsonl (which may still be empty)."""
        self._folder = folder
        self._sender = Sender(folder)
        self._problem: str | None = None
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._run, name="mlflow-writer", daemon=True)

    def start(self) -> None:
        """Once. Never raises for what is wrong with MLflow; see `problem`."""
        self._thread.start()

    @property
    def problem(self) -> str | None:
        """What keeps results from MLflow at the moment, in one line; None if nothing does."""
        return self._problem

    def close(self, timeout_s: float = 30.0) -> int:
        """Send what is left and stop. How many events could not be sent in that time; `sync` does it later."""
        self._deadline = time.monotonic() + timeout_s
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if owed := self._sender.ledger.owed:
            logger.warning("MLflow has not taken %d files; later: segsweep sync %s", len(owed), self._folder.name)
        return self._sender.unsent

    def _run(self) -> None:
        failures, cpu_s, failed = 0, 0.0, False
        with ExitStack() as held:
            locked = False
            while True:
                last_round = self._closing.is_set()  # asked before sending: what was written before close is seen
                self._sender.in_doubt |= last_round and failed
                try:
                    if not locked:
                        held.enter_context(exclusive(self._folder))
                        locked = True
                    cpu_s = self._drain()
                    failures, self._problem = 0, None
                except Exception as error:  # the sweep goes on whatever happens to MLflow
                    failures, failed = failures + 1, True
                    self._problem = f"MLflow ({self._sender.ledger.uri or 'not connected'}): {message_of(error)}"
                    logger.debug("sending failed", exc_info=True)
                if (last_round and not failures) or time.monotonic() >= self._deadline:
                    return
                self._pause(failures, last_round, cpu_s)

    def _drain(self) -> float:
        """Send all that there is. How many seconds of CPU that took."""
        began = time.thread_time()
        while time.monotonic() < self._deadline and self._sender.step():
            pass
        return time.thread_time() - began

    def _pause(self, failures: int, closing: bool, cpu_s: float) -> None:
        pause_s = BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1] if failures else max(POLL_S, REST * cpu_s)
        if closing:  # the event is set and would not wait any more
            time.sleep(min(pause_s, 1.0, max(0.0, self._deadline - time.monotonic())))
        else:
            self._closing.wait(pause_s)


def sync(folder: Path) -> int:
    """Send what MLflow does not have yet of a sweep, now. The number of events sent.

    Raises InputError if there is no journal, the store does not answer, or a running sweep sends them itself.
    """
    sender = Sender(folder)
    if not sender.journal.exists():
        raise InputError(Mistake(str(folder), "holds no journal.jsonl; give the folder of a sweep"))
    with exclusive(folder):
        if not sender.open():
            return 0
        check(sender.ledger.uri)
        unsent = sender.unsent
        try:
            while sender.step():
                pass
        except Exception as error:
            files = f" and {len(owed)} files" if (owed := sender.ledger.owed) else ""
            problem = f"{message_of(error)}; {sender.unsent} events{files} are not sent"
            raise InputError(Mistake(f"tracking URI {sender.ledger.uri}", problem)) from error
    return unsent


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's tracking.lock. Raises InputError if another process does: two would make two runs a trial."""
    with (folder / "tracking.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel drops it when the process dies
        except OSError:
            raise InputError(Mistake(str(folder), "another segsweep process sends this sweep to MLflow")) from None
        yield
