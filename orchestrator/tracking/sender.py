"""From the journal to MLflow, batch by batch. What was sent is noted in the ledger, so a new process goes on there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from segsweep.orchestrator.record.journal import JOURNAL, DriverStarted, Event, SweepCreated, SweepExtended, read_events
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.tracking import records
from segsweep.orchestrator.tracking.ledger import Ledger
from segsweep.orchestrator.tracking.runs import Runs
from segsweep.orchestrator.tracking.updates import Updates

BATCH = 2000  # events at most before the ledger is written


class Sender:
    """Only one may work on a folder at a time; `writer.exclusive` sees to that."""

    def __init__(self, folder: Path) -> None:
        """folder: the sweep's, with journal.jsonl; tracking.json is kept beside it."""
        self.journal = folder / JOURNAL
        self.ledger = Ledger()
        self._path = folder / "tracking.json"
        self._updates = Updates(SweepState())
        self._offset = 0  # behind the last event in _updates
        self._revision = records.Revision(0, 0, 0)
        self._created: SweepCreated | None = None
        self._runs: Runs | None = None
        self._more = False  # there were more events than a batch takes
        self.in_doubt = False
        """A call may have been given up that comes through later, so that there are two runs of something."""

    @property
    def unsent(self) -> int:
        """How many events MLflow does not have."""
        sent = self.ledger.offset if self._created else Ledger.load(self._path).offset  # not opened: another one sends
        return sum(1 for _ in read_events(self.journal, sent)) if self.journal.exists() else 0

    def step(self) -> bool:
        """Send one batch; False if it was the last. Raises whatever the store raises: then call it again.

        What is written meanwhile waits for the next call: a batch costs more than most events in it.
        """
        if self._created is None and not self.open():
            return False
        if self._offset == self.ledger.offset:
            self._read()
        else:
            self._more = True  # behind the batch that is left over from a failed attempt
        if self._offset != self.ledger.offset:
            if self._updates.runs and not self._send():
                return True
            self.ledger.offset = self._offset
            self.ledger.save(self._path)
        return self._more or self._tidy()

    def open(self) -> bool:
        """Take up the ledger, and the state as it was when the ledger was written."""
        first = next(read_events(self.journal), None) if self.journal.exists() else None
        if first is None or not isinstance(first[0], SweepCreated):
            return False
        created, uid = first[0], records.sweep_uid(first[0])
        ledger = Ledger.load(self._path)
        self.in_doubt |= self._path.exists()  # by what an earlier writer gave up, who cannot say any more
        if (ledger.uri, ledger.sweep_uid) != (created.tracking_uri, uid) or self.journal.stat().st_size < ledger.offset:
            ledger = Ledger(uri=created.tracking_uri, sweep_uid=uid)
            ledger.save(self._path)
        self.ledger = ledger
        self._rewind(ledger.offset)
        self._created = created
        return True

    def _rewind(self, offset: int) -> None:
        state, self._revision = SweepState(), records.Revision(0, 0, 0)
        for event, end in read_events(self.journal):
            if end > offset:
                break
            state.apply(event)
            self._note(event)
        self._updates, self._offset, self.ledger.offset = Updates(state), offset, offset

    def _read(self) -> None:
        read = 0
        for event, end in islice(read_events(self.journal, self._offset), BATCH):
            self._updates.add(event)
            self._offset, read = end, read + 1
            self._note(event)
        self._more = read == BATCH

    def _note(self, event: Event) -> None:
        """Whoever starts or extends a sweep may have another clock, and change any trial."""
        since = event.seq if isinstance(event, DriverStarted | SweepExtended) else self._revision.since
        self._revision = records.Revision(since, event.seq, int(event.time * 1000))

    def _send(self) -> bool:
        """False if the store has lost the sweep: then everything is sent again from the beginning."""
        with self._connected() as runs:
            if runs.lost:
                self._rewind(0)
                return False
            runs.send(self._updates.runs)
            runs.mark(self._revision)
            self._updates.runs = {}
            return True

    def _tidy(self) -> bool:
        """Once MLflow has every number: the files that it has not taken yet, and runs that a failure made double.

        True if the store has lost the sweep.
        """
        if not self.ledger.owed and not self.in_doubt:
            return False
        in_doubt = self.in_doubt
        with self._connected() as runs:
            if runs.lost:
                self._rewind(0)
                return True
            try:
                runs.deliver(self._updates.state, self.journal.parent)
            finally:
                self.ledger.save(self._path)
            if in_doubt and runs.settle():
                self._revision = self._revision._replace(since=self._revision.last)
                runs.mark(self._revision)
        self.in_doubt = False
        return False

    @contextmanager
    def _connected(self) -> Iterator[Runs]:
        """The runs in the store. A failure inside leaves doubt about what the store has: then connects anew."""
        assert self._created is not None
        runs, self._runs = self._runs, None
        in_doubt, self.in_doubt = self.in_doubt, True
        if runs is None:
            runs = Runs(self._created, self.ledger)
            in_doubt |= runs.found
        yield runs
        self._runs, self.in_doubt = None if runs.lost else runs, in_doubt
