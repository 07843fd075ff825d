"""The journal: the append-only record of a sweep, and the only truth.

One JSON object a line, flushed at once (a killed driver loses nothing) and fsynced before anybody acts on it. Rungs,
Optuna studies, MLflow runs and status are all rebuilt by reading it. A line that was torn by a crash is the last one;
it is dropped when the journal is opened for writing (durable.py).
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, TypeAdapter

from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.record.durable import DurableFile, TakenError
from segsweep.trainables.config import Frozen, TrialConfig

Cause = Literal["new", "resume", "retry", "promote", "continue"]
"""Why an attempt starts: first time; after a dead driver; after a failure; from a rung; its cell needs it after all."""

EndStatus = Literal["finished", "stopped", "paused", "failed", "infeasible", "interrupted"]
"""How an attempt ends. A paused trial ends once more when it is stopped, or starts another attempt."""


Unit = Literal["epochs", "iterations", "seconds"]
"""What rungs count: epochs, optimizer updates, or seconds of training (the sum of `epoch_s`)."""

JOURNAL = "journal.jsonl"  # in the folder of every sweep

MOST_AHEAD = 5  # better trials that a stop names: a cell may have thousands


class Stop(Frozen):
    """Why a scheduler stopped a trial. rank 1 is the best of the `of` trials recorded at the rung so far."""

    rung: int
    unit: Unit = "epochs"
    value: float | None = None  # the trial's own at the rung; journals of earlier versions do not say
    cutoff: float
    rank: int
    of: int
    ahead: tuple[str, ...] = ()  # those ranked before it, the best first; the first MOST_AHEAD of them


class _Event(Frozen):
    seq: int = 0  # 0, 1, 2 ... in the file; set by Journal.append
    time: float = 0.0  # seconds since 1970, UTC; set by Journal.append


class KnownValues(Frozen):
    """What an earlier sweep found good, to be tried before the searcher is asked."""

    combination: tuple[str, ...]  # its key
    values: dict[str, JsonValue]
    source: str  # "camvid-1/003"


class SweepCreated(_Event):
    event: Literal["sweep"] = "sweep"
    format: Literal[1] = 1  # of the journal; raised when old readers would misread it
    sweep: str
    spec: dict[str, JsonValue]  # the SweepSpec, defaults filled in
    source: str  # the YAML as the user wrote it
    plan: dict[str, JsonValue] = {}  # what `segsweep plan --json` says of it
    provenance: dict[str, JsonValue]  # versions, git commits, hardware, command
    tracking_uri: str
    experiment: str
    known: tuple[KnownValues, ...] = ()  # the best of a combination first


class SweepExtended(_Event):
    """The sweep gets more trials, models, datasets, seeds or epochs; the lists are empty unless epochs are raised.

    Old trials that can go on get the new limit. Others followed an LR schedule that ended too early: they no longer
    count, and those of them that were not stopped for weakness are trained anew with their values.
    """

    event: Literal["extended"] = "extended"
    spec: dict[str, JsonValue]  # the whole SweepSpec from here on
    change: str  # for people: "trials 8 -> 12, models + fpn"
    plan: dict[str, JsonValue] = {}
    continues: tuple[str, ...] = ()  # trials
    anew: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


class DriverStarted(_Event):
    """A process begins (launch) or goes on (resume) to run the sweep."""

    event: Literal["driver"] = "driver"
    pid: int
    host: str
    backend: str


class TrialCreated(_Event):
    event: Literal["trial"] = "trial"
    trial: str
    config: TrialConfig
    values: dict[str, JsonValue]  # what the searcher chose, by dotted path
    anew: str = ""  # the trial that it replaces, with the same values and more epochs
    confirms: str = ""  # the trial that it repeats with another seed


class AttemptStarted(_Event):
    event: Literal["start"] = "start"
    trial: str
    attempt: int  # 1, 2 ...; older attempts may no longer write
    cause: Cause


class TrialFacts(_Event):
    """What is known once a trial is built: params_m, gmacs, device, node, checkpoint."""

    event: Literal["facts"] = "facts"
    trial: str
    attempt: int
    facts: dict[str, float | str]


class EpochDone(_Event):
    event: Literal["epoch"] = "epoch"
    trial: str
    attempt: int
    epoch: int  # 1, 2 ...; the trial's own count, over all attempts
    metrics: dict[str, float | None]  # val_miou, val_iou/CLASS, train_loss, epoch_s ...; None = not a number
    done: str = ""  # why the trial says that it has finished; "" while it has not
    redone: bool = False  # this epoch was recorded before: costs time, counts for nothing else


class AttemptEnded(_Event):
    event: Literal["end"] = "end"
    trial: str
    attempt: int
    status: EndStatus
    reason: str  # one line for people: "epoch limit", "rung 3: 0.41 < cutoff 0.52 (rank 4 of 5)", the error ...
    stop: Stop | None = None
    lost: Literal["", "worker", "driver"] = ""  # who died; a driver's death is written by the next one, when it may
    log: str = ""  # the tail of the traceback, or of what a worker that died left on stderr


class RoundClosed(_Event):
    """A round of adaptive allocation is decided: who goes on with how many trials, who gets no more."""

    event: Literal["round"] = "round"
    dataset: str
    round: int  # 1, 2 ... of the dataset
    best: dict[str, float | None]  # by model, the best first: its best finished trial; everyone who was in the round
    trials: dict[str, int]  # by model: further trials of those that go on; the others get no more


class DriverStopped(_Event):
    event: Literal["driver_stopped"] = "driver_stopped"
    status: Literal["done", "interrupted", "budget", "crashed"]  # budget: it is used up
    reason: str = ""  # who asked for it, which limit


Event = Annotated[
    SweepCreated
    | SweepExtended
    | DriverStarted
    | TrialCreated
    | AttemptStarted
    | TrialFacts
    | EpochDone
    | AttemptEnded
    | RoundClosed
    | DriverStopped,
    Field(discriminator="event"),
]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class JournalError(InputError):
    """The journal cannot be used; the message says why and what to do."""


def sweeps_in(storage: Path) -> dict[str, Path]:
    """The folders of the sweeps in `storage`, by name."""
    return {path.parent.name: path.parent for path in storage.glob(f"*/{JOURNAL}")}


def read_events(path: Path, offset: int = 0) -> Iterator[tuple[Event, int]]:
    """Every complete event from byte `offset` on, each with the offset behind it. A torn last line is left alone."""
    with path.open("rb") as file:
        file.seek(offset)
        seq: int | None = None
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            event = _parse(line, path, offset)
            if seq is not None and event.seq != seq + 1:
                raise _damaged(path, f"event {event.seq} follows event {seq} at byte {offset}")
            seq = event.seq
            yield event, offset


def parse_event(line: bytes) -> Event:
    """Raises ValueError."""
    return _EVENT.validate_json(line)


def _parse(line: bytes, path: Path, offset: int) -> Event:
    try:
        return parse_event(line)
    except ValueError as error:
        raise _damaged(path, f"the line that ends at byte {offset} is no event") from error


def _damaged(path: Path, message: str) -> JournalError:
    return JournalError(f"{path}: {message}; restore the file from a copy, or launch the search space again")


def is_locked(folder: Path) -> bool:
    """True while a driver that sees this folder holds its journal."""
    with (folder / JOURNAL).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


class Journal:
    """Appends events, one driver at a time: a second one is refused until the first has ended or died."""

    def __init__(self, path: Path, *, clock: Callable[[], float] | None = None, fsync: bool = True) -> None:
        """path: <sweep folder>/journal.jsonl; created if missing. clock: seconds since 1970; default: steady_clock().

        Raises JournalError if another driver holds it.
        """
        self.path = path
        self.clock = clock or steady_clock()
        self._together = 0  # how many `together` blocks we are in
        with self._told_apart():
            self._file = DurableFile(path, fsync=fsync)
        try:
            self._next_seq = sum(1 for _ in read_events(path))
        except JournalError:
            self._file.close()
            raise

    def append(self, event: Event) -> Event:
        """Write one event, durably unless in `together`, and return it with `seq` and `time` set.

        Raises StorageError where storage is full or stays away: then the sweep has to end, since nothing more can be
        written. JournalError if another driver has taken the journal meanwhile.
        """
        event = event.model_copy(update={"seq": self._next_seq, "time": self.clock()})
        with self._told_apart():
            self._file.append(event.model_dump_json().encode() + b"\n")
            self._next_seq += 1
            if not self._together:
                self._file.sync()
        return event

    @contextmanager
    def together(self) -> Iterator[None]:
        """Events that belong to one decision share one fsync, at the end: it costs more than everything else here."""
        self._together += 1
        try:
            yield
        finally:
            self._together -= 1
            if not self._together:
                with self._told_apart():
                    self._file.sync()

    @contextmanager
    def _told_apart(self) -> Iterator[None]:
        """A journal that somebody else has, as opposed to storage that fails."""
        try:
            yield
        except TakenError as error:
            raise JournalError(
                f"{self.path}: another segsweep process runs this sweep; wait for it, or stop it with Ctrl-C"
            ) from error

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def steady_clock() -> Callable[[], float]:
    """Seconds since 1970 as the machine has them now, and from then on unmoved by whoever sets its clock."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()
