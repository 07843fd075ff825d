"""What a store says of trials, kept on this machine: only what has changed since is read again.

A sweep is read again when its revision (a tag that its writer sets behind every batch), the run that stands for it, or
the set of its deleted runs has changed. Then whatever has not ended, or ended since, is read; and the whole of it when
it was extended, taken up by another driver (whose clock may be another), or its runs were deleted or restored.
Nothing in the file is the only copy: without it, or with one of another version, all is read from the store.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from segsweep.orchestrator.board.confirmed import Confirmations, LoadConfusions, confirmations
from segsweep.orchestrator.durations import duration
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.garbage import uncollected
from segsweep.orchestrator.tracking.reader import Reader, Setup, Texts, TrialRow, trial_row, without_ious
from segsweep.orchestrator.tracking.reading.stored import StoredRun
from segsweep.orchestrator.tracking.records import Revision, hash_of, long_text
from segsweep.orchestrator.tracking.store import NOT_LET_IN, sqlite_path
from segsweep.orchestrator.tracking.sweep_rows import SweepRow
from segsweep.trainables.config import Objective
from segsweep.trainables.places import cache_folder

if TYPE_CHECKING:
    from segsweep.trainables.scoring.confusions import Confusions

logger = logging.getLogger(__name__)

VERSION = 2  # of the file; another one is made anew
MARGIN_MS = 600_000  # a driver's clock may be set back by so much while it runs
CONFIG = "segsweep.config"
TABLES = """
CREATE TABLE sweeps (
    uid TEXT PRIMARY KEY, name TEXT, started_s REAL, user TEXT, host TEXT, run_id TEXT, revision TEXT, deleted TEXT);
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, sweep_uid TEXT, kind TEXT, dataset TEXT, start_ms INTEGER, end_ms INTEGER, status TEXT,
    tags TEXT, metrics TEXT, ious TEXT, params TEXT, config TEXT, setup TEXT);
CREATE INDEX by_sweep ON runs (sweep_uid, kind);
CREATE TABLE answers (run_id TEXT, question TEXT, end_ms INTEGER, answer TEXT, PRIMARY KEY (run_id, question));
CREATE TABLE reads (uri TEXT PRIMARY KEY, at_s REAL);
"""


class Index:
    """The trials of one store, as it was at `read_s`."""

    def __init__(self, uri: str) -> None:
        """Brings the index up to date.

        Raises InputError if the store does not answer and nothing is known of it from earlier.
        """
        self.uri = uri
        self.problem = ""  # why it is as old as it is
        try:
            self._database = _database(place(uri))
            self._update()
        except sqlite3.DatabaseError:
            logger.debug("the index of %s is made anew", uri, exc_info=True)
            self._database = _database(place(uri), anew=True)
            self._update()
        except InputError as error:
            refused = NOT_LET_IN in str(error)  # by a server that is not away
            if refused or sqlite_path(uri) is not None or not self.sweeps():  # a file that is gone is gone for good
                raise
            self.problem = "; ".join(map(str, error.mistakes))

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.uri)

    @property
    def read_s(self) -> float:
        """When the store was asked for the last time; since 1970."""
        (found,) = self._database.execute("SELECT max(at_s) FROM reads").fetchone()
        return float(found or 0)

    def close(self) -> None:
        """What was asked is kept. A process that lives on keeps the others from writing until it does this."""
        self._database.commit()
        self._database.close()

    def warnings(self) -> Iterator[str]:
        """Why the store was not asked just now, and when it was."""
        if self.problem:
            yield f"this is as of {duration(time.time() - self.read_s)} ago: {self.problem}"

    # -- up to date ----------------------------------------------------------------------------------------------

    def _update(self) -> None:
        at_s, now = time.time(), {sweep.uid: sweep for sweep in self._reader.sweeps()}
        deleted = {uid: json.dumps(runs) for uid, runs in self._reader.deleted().items()}
        with self._database:
            known = {sweep.uid: (sweep, gone) for sweep, gone in self._known()}
            for uid in known.keys() - now.keys():
                self._forget(uid)
                self._database.execute("DELETE FROM sweeps WHERE uid = ?", [uid])
            for uid, sweep in now.items():
                old, gone = known.get(uid, (None, "")), deleted.get(uid, "")
                if not sweep.revision or (sweep.run_id, sweep.revision, gone) != _standing(*old):
                    self._read(sweep, gone, _since(sweep, gone, *old))
            self._database.execute("INSERT OR REPLACE INTO reads VALUES (?, ?)", [self.uri, at_s])

    def _known(self) -> list[tuple[SweepRow, str]]:
        columns = "name, uid, started_s, user, host, run_id, revision, ?, deleted"
        rows = self._database.execute(f"SELECT {columns} FROM sweeps ORDER BY started_s DESC, run_id", [self.uri])
        return [(SweepRow(*row), deleted) for *row, deleted in rows]

    def _read(self, sweep: SweepRow, deleted: str, since_ms: int | None) -> None:
        """since_ms: see Query; None: the whole sweep."""
        runs = self._reader.runs(sweep.uid, since_ms)
        logger.debug("%d runs of %s are read since %s", len(runs), sweep.name, since_ms)
        if since_ms is None:
            self._forget(sweep.uid)
        self._database.executemany(f"INSERT OR REPLACE INTO runs VALUES ({', '.join(13 * '?')})", map(_columns, runs))
        values = [sweep.uid, sweep.name, sweep.started_s, sweep.user, sweep.host, sweep.run_id, sweep.revision, deleted]
        self._database.execute(f"INSERT OR REPLACE INTO sweeps VALUES ({', '.join(8 * '?')})", values)

    def _forget(self, uid: str) -> None:
        of_sweep = "WHERE run_id IN (SELECT run_id FROM runs WHERE sweep_uid = ?)"
        self._database.execute(f"DELETE FROM answers {of_sweep}", [uid])
        self._database.execute("DELETE FROM runs WHERE sweep_uid = ?", [uid])

    # -- as the reader has them -------------------------------------------------------------------------------------

    def sweeps(self) -> list[SweepRow]:
        """All sweeps, the newest first."""
        return [sweep for sweep, _ in self._known()]

    def trials(
        self,
        *,
        metric: str = Objective().metric,
        sweep_uid: str | None = None,
        dataset: str | None = None,
        kind: str = "trial",
    ) -> list[TrialRow]:
        """Every trial that fits, the newest first."""
        asked = {"kind": kind, "sweep_uid": sweep_uid, "dataset": dataset}
        where = {column: value for column, value in asked.items() if value is not None}
        rows = self._database.execute(
            "SELECT run_id, start_ms, end_ms, status, tags, metrics, setup, config, params, ious FROM runs"
            f" WHERE {' AND '.join(f'{column} = ?' for column in where)}",
            list(where.values()),
        ).fetchall()
        rows.sort(key=lambda row: (-row[1], row[0]))  # SQLite would copy all the texts to sort them
        loads = json.JSONDecoder().decode
        with self._database, uncollected():
            return [
                trial_row(
                    StoredRun(run_id, start_ms, end_ms, status, loads(tags), {}, loads(metrics)),
                    metric,
                    Texts(config, params, ious),
                    Setup(*loads(setup)) if setup else None,
                    self.over_epochs,
                )
                for run_id, start_ms, end_ms, status, tags, metrics, setup, config, params, ious in rows
            ]

    def over_epochs(self, run_id: str, metric: str, best_epoch: int) -> float | None:
        """See Reader.over_epochs; asked once for a run that has ended."""
        question = f"{metric} {best_epoch}"
        (end_ms,) = self._database.execute("SELECT end_ms FROM runs WHERE run_id = ?", [run_id]).fetchone()
        found = self._database.execute(
            "SELECT answer FROM answers WHERE run_id = ? AND question = ? AND end_ms = ?", [run_id, question, end_ms]
        ).fetchone()
        if found is not None:
            answer: float | None = json.loads(found[0])
            return answer
        answer = self._reader.over_epochs(run_id, metric, best_epoch)
        if end_ms is not None:
            values = [run_id, question, end_ms, json.dumps(answer)]
            self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", values)
        return answer

    def history(self, run_id: str, metric: str) -> Mapping[int, float | None]:
        """See Reader.history."""
        return self._reader.history(run_id, metric)

    def confirmations(
        self,
        trials: Sequence[TrialRow],
        repeats: Sequence[TrialRow],
        metric: str,
        load: LoadConfusions | None = None,
    ) -> Confirmations:
        """See confirmed.confirmations, which takes seconds; what it found is kept, if it lacked nothing.

        load: default: of this store.
        """
        if not repeats:
            return Confirmations()
        values = {(trial.sweep_uid, trial.trial_id): trial.value for trial in trials}
        of = [(repeat, values.get((repeat.sweep_uid, repeat.confirms), "")) for repeat in repeats]
        question = hash_of(
            repr([metric, *((one.run_id, one.dataset, one.status, one.value, one.test, v) for one, v in of)])
        )
        found = self._database.execute(
            "SELECT answer FROM answers WHERE run_id = '' AND question = ?", [question]
        ).fetchone()
        if found is not None:
            return Confirmations.from_json(found[0])
        answer = confirmations(trials, repeats, metric, load or self.confusions)
        if answer.rows and not answer.warnings:
            with self._database:
                self._database.execute(
                    "INSERT OR REPLACE INTO answers VALUES ('', ?, 0, ?)", [question, answer.as_json()]
                )
        return answer

    def confusions(self, row: TrialRow, split: str) -> Confusions | None:
        """See Reader.confusions; None if the store does not answer."""
        with suppress(InputError):
            return self._reader.confusions(row, split)
        return None


def _columns(run: StoredRun) -> tuple[str | int | None, ...]:
    tags = {tag: value for tag, value in run.tags.items() if not tag.startswith(CONFIG)}
    config = long_text(CONFIG, run.tags) or ""
    setup = Setup.of(config)
    ids = (run.run_id, tags["segsweep.sweep_uid"], tags["segsweep.kind"], tags["segsweep.dataset"])
    texts = (json.dumps(part) for part in (tags, *without_ious(run.metrics), run.params))
    return (*ids, run.start_ms, run.end_ms, run.status, *texts, config, json.dumps(setup) if setup else None)


def _standing(sweep: SweepRow | None, deleted: str) -> tuple[str, str, str] | None:
    return (sweep.run_id, sweep.revision, deleted) if sweep else None


def _since(new: SweepRow, new_deleted: str, old: SweepRow | None, deleted: str) -> int | None:
    """Trials that ended before this moment are as they were; None if that is true of no moment."""
    if old is None or (new.run_id, new_deleted) != (old.run_id, deleted):
        return None
    before, after = Revision.parse(old.revision), Revision.parse(new.revision)
    if before is None or after is None or before.since != after.since or before.last > after.last:
        return None
    return before.time_ms - MARGIN_MS


def place(uri: str) -> Path:
    """The file of a store's index."""
    return cache_folder() / "boards" / f"{hash_of(uri)}.sqlite"


def _database(path: Path, anew: bool = False) -> sqlite3.Connection:
    """The file, made anew if it is missing or of another version; in memory if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if anew:
            path.unlink(missing_ok=True)
        return _opened(path)
    except (OSError, sqlite3.OperationalError):
        logger.debug("%s cannot be used", path, exc_info=True)
        return _opened(":memory:")


def _opened(path: Path | str) -> sqlite3.Connection:
    """Raises sqlite3.Error if it cannot be used or is broken."""
    database = sqlite3.connect(path, timeout=60)  # another process may be reading 10,000 runs into it
    database.execute("PRAGMA synchronous = OFF")  # what a power cut breaks is made anew
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        drops = "".join(f"DROP TABLE {table}; " for (table,) in tables)
        database.executescript(f"BEGIN IMMEDIATE; {drops} {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
    return database
