"""What the MLflow stores tell: the sweeps of everybody, and boards over them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from segsweep.orchestrator.board.classes import class_tables
from segsweep.orchestrator.board.formats import plain_tables
from segsweep.orchestrator.board.leaderboard import DEFAULT_METRIC, Asked, board_of, read_trials
from segsweep.orchestrator.board.several import Source, opened
from segsweep.orchestrator.board.tables import Table
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.tracking.sweep_rows import SweepRow
from segsweep.orchestrator.ui.memo import Memo
from segsweep.orchestrator.ui.outlines import Outline, outline_in_store

FRESH_S = 4.0  # no more often is the store asked, however many look
FIRST_S = 5.0  # so long whoever comes first waits for it
READING = "the store is being read for the first time; of a server, 10,000 runs may take two minutes"


@dataclass(frozen=True)
class Answer:
    """What it says, or why it says nothing."""

    tables: tuple[Table, ...] = ()
    warnings: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()


class Store:
    """All that were named as one, see board.several."""

    def __init__(self, uris: Sequence[str]) -> None:
        """uris: as board.several.resolved has them."""
        self.uris = tuple(uris)
        self._answers: Memo[Answer] = Memo(32)
        self._sweeps: Memo[tuple[tuple[SweepRow, ...], str]] = Memo(1)
        self._outlines: dict[str, tuple[str, Outline]] = {}  # by uid, with the version
        self._lock, self._beginning = threading.Lock(), threading.Lock()
        self._first: threading.Thread | None = None

    def sweeps(self) -> tuple[tuple[SweepRow, ...], str]:
        """All of them, the newest first; and why there are none, or not all, if a store does not answer."""
        with self._beginning:
            if self._first is None:
                self._first = threading.Thread(target=self._read, name="store", daemon=True)
                self._first.start()
                self._first.join(FIRST_S)
        if self._first.is_alive():
            return (), READING

        def ask() -> tuple[tuple[SweepRow, ...], str]:
            try:
                source, unread = opened(self.uris)
                with closing(source):
                    return tuple(source.sweeps()), "; ".join([*source.warnings(), *map(str, unread)])
            except InputError as error:
                return (), str(error)

        return self._sweeps.get("", _moment(), ask, exact=False)

    def _read(self) -> None:
        """All that is new, into the index; apart from what is kept, as it says nothing of how long that takes."""
        with suppress(InputError):
            opened(self.uris)[0].close()

    def outlines(self, sweeps: Sequence[SweepRow]) -> list[Outline]:
        """Of those that have no journal here; read again where the store has more of them by now."""
        with self._lock:
            missing = [one for one in sweeps if self._outlines.get(one.uid, ("",))[0] != _version(one)]
            if missing:
                with suppress(InputError), closing(opened(self.uris)[0]) as source:
                    for one in missing:
                        self._outlines[one.uid] = _version(one), _outline(source, one)
            bare = {one.uid: outline_in_store(one, (), DEFAULT_METRIC) for one in missing}
            return [self._outlines[one.uid][1] if one.uid in self._outlines else bare[one.uid] for one in sweeps]

    def board(self, asked: Asked, *, per_class: bool = False) -> Answer:
        """The board, or what is wrong with what was asked."""

        def ask() -> Answer:
            try:
                with closing(opened(self.uris)[0]) as source:
                    board = board_of(source, asked)
                    found = class_tables(board, source) if per_class else plain_tables(board)
                    return Answer(tuple(found), board.warnings if per_class else (), board.datasets)
            except InputError as error:
                return Answer(warnings=tuple(map(str, error.mistakes)))

        return self._answers.get((asked, per_class), _moment(), ask, exact=False)


def _outline(source: Source, sweep: SweepRow) -> Outline:
    try:
        trials, metric = read_trials(source, sweep=sweep.uid)
        repeats = source.trials(metric=metric, sweep_uid=sweep.uid, kind="confirm")
        return outline_in_store(sweep, trials, metric, repeats)
    except InputError:  # no trial yet
        return outline_in_store(sweep, (), DEFAULT_METRIC)


def _version(sweep: SweepRow) -> str:
    """Of what the store has of it; of one that an older segsweep wrote nobody knows."""
    return sweep.revision or str(_moment())


def _moment() -> int:
    return int(time.monotonic() / FRESH_S)
