"""The leaderboard, asked of an MLflow store. Never of journals: several users share one board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segsweep.orchestrator.board.columns import FURTHER
from segsweep.orchestrator.board.conditions import Condition, chosen
from segsweep.orchestrator.board.external import External, read_external
from segsweep.orchestrator.board.formats import as_table
from segsweep.orchestrator.board.index import Index
from segsweep.orchestrator.board.names import expect_known
from segsweep.orchestrator.board.rows import SORTS, Board, apart, led_by_fresh_seeds, make_board, named_apart
from segsweep.orchestrator.board.several import Source
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.tracking.reader import TrialRow
from segsweep.orchestrator.tracking.sweep_rows import SweepRow
from segsweep.trainables.config import Objective

DEFAULT_METRIC = Objective().metric


def board_text(uri: str, sweep: str) -> str:
    """The leaderboard of one sweep (a name or a uid), drawn for this terminal. Raises InputError."""
    return as_table(read_board(uri, sweep=sweep))


@dataclass(frozen=True)
class Asked:
    """What a board is to be about. None: all; of `metric`: the sweeps' objective."""

    sweep: str | None = None  # name or uid
    dataset: str | None = None
    metric: str | None = None
    sort: str = "value"
    where: tuple[str, ...] = ()  # conditions on parameters
    columns: tuple[str, ...] = ()
    external: Path | None = None  # results of others, a CSV
    external_dataset: tuple[str, ...] = ()  # OURS=THEIRS, where they call a dataset otherwise


def read_board(
    uri: str, *, sweep: str | None = None, dataset: str | None = None, metric: str | None = None, sort: str = "value"
) -> Board:
    """Raises InputError: the store does not answer or is empty, or a name is not known in it."""
    return board_of(Index(uri), Asked(sweep, dataset, metric, sort))


def board_of(index: Source, asked: Asked) -> Board:
    """Raises InputError as `read_board`, or for a condition or column that is none."""
    sweep, dataset, metric, sort = asked.sweep, asked.dataset, asked.metric, asked.sort
    for column in asked.columns:
        expect_known("--columns", column, FURTHER)
    conditions = [Condition.parse(text) for text in asked.where]
    rows, metric = read_trials(index, sweep=sweep, metric=metric)
    rows = chosen(rows, conditions)
    expect_known("--dataset", dataset, {row.dataset for row in rows})
    rows = [row for row in rows if dataset in (None, row.dataset)]
    repeats = repeated(index, rows, metric)
    here = sorted({row.dataset for row in rows})
    names = apart([*rows, *repeats])
    rows, repeats = named_apart(rows, names), named_apart(repeats, names)
    expect_known("--sort", sort, {*SORTS, *(row.dataset for row in rows)})
    board = make_board(rows, metric, sort, repeats)
    external = External()
    if asked.external is not None:
        external = read_external(asked.external, metric, here, asked.external_dataset)
    whole = replace(
        board,
        columns=asked.columns,
        external=external.rows,
        confirmed=index.confirmations(rows, repeats, metric),
        warnings=(*index.warnings(), *external.warnings, *board.warnings),
        read_s=index.read_s,
    )
    return led_by_fresh_seeds(whole)


def read_trials(index: Source, *, sweep: str | None = None, metric: str | None = None) -> tuple[list[TrialRow], str]:
    """The trials of one sweep (a name or a uid) or of all, and the metric they are judged by. Raises InputError."""
    sweeps = index.sweeps()
    if not sweeps:
        raise InputError(
            Mistake(f"tracking URI {index.uri}", "there is no sweep in it yet; run `segsweep launch FILE`")
        )
    uid = None if sweep is None else _uid_of(sweep, sweeps)
    rows = index.trials(sweep_uid=uid, metric=metric or DEFAULT_METRIC)
    if not rows:
        raise InputError(Mistake(f"tracking URI {index.uri}", "no trial has started yet; look at `segsweep status`"))
    judged_by = metric or _objective(rows)
    if judged_by != (metric or DEFAULT_METRIC):
        rows = index.trials(sweep_uid=uid, metric=judged_by)
    if metric is not None:
        names = {name for row in rows for name in row.metric_names if not name.startswith("best_val")}
        expect_known("--metric", metric, {*names, DEFAULT_METRIC})
    return rows, judged_by


def repeated(index: Source, rows: Sequence[TrialRow], metric: str) -> list[TrialRow]:
    """What repeats trials on the datasets of these rows with fresh seeds, in their sweeps."""
    cells = {(row.sweep_uid, row.dataset) for row in rows}
    return [row for row in index.trials(metric=metric, kind="confirm") if (row.sweep_uid, row.dataset) in cells]


def _uid_of(sweep: str, sweeps: Sequence[SweepRow]) -> str:
    """The uid of the sweep that goes by this name or uid. Raises InputError if there is none or more than one."""
    if any(row.uid == sweep for row in sweeps):
        return sweep
    expect_known("SWEEP", sweep, {row.name for row in sweeps})
    named = [row for row in sweeps if row.name == sweep]
    if len(named) > 1:
        there = ", ".join(map(str, named))
        raise InputError(Mistake(f"SWEEP {sweep}", f"{len(named)} sweeps have this name; give the uid of one: {there}"))
    return named[0].uid


def _objective(rows: list[TrialRow]) -> str:
    """What the sweeps were run for; several sweeps that disagree are compared by the default."""
    metrics = {row.setup.objective for row in rows if row.setup}
    return metrics.pop() if len(metrics) == 1 else DEFAULT_METRIC
