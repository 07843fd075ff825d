"""What the page of one sweep shows beside its outline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from segsweep.orchestrator.board.tables import Table as PlainTable
from segsweep.orchestrator.board.tables import text_of
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.next_step import resume_command
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.report.contents import Block, Section, Table, Text
from segsweep.orchestrator.report.gathering import outcome
from segsweep.orchestrator.report.sections import confirmation, curves, leaderboard
from segsweep.orchestrator.report.words import metric_words, number
from segsweep.orchestrator.ui.outlines import RESUMABLE, Outline

MOST = 100  # trials in a table


def results(state: SweepState, folder: Path) -> list[Section]:
    """As the report has them."""
    try:
        found = outcome(state, folder)
    except InputError:
        return [Section("leaderboard", "Leaderboard", [Text("No trial has trained an epoch yet.")])]
    return [draw(found) for draw in (leaderboard.section, confirmation.section, curves.section)]


def happenings(state: SweepState, outline: Outline, folder: Path) -> list[Section]:
    """What runs, what failed, and how to go on."""
    found = []
    if outline.phase in RESUMABLE:
        text = f"It can go on: `{resume_command(folder)}`"
        found.append(Section("next", "Next", [Text(text)]))
    if outline.phase == "running":
        found.append(Section("running", "Running trials", list(_running(state))))
    if failed := [trial for trial in state.trials.values() if trial.status in ("failed", "infeasible")]:
        found.append(Section("failures", "Failures", list(_failures(failed, outline))))
    return found


def _running(state: SweepState) -> Iterator[Block]:
    if not (trials := state.running):
        yield Text("None at this moment.")
        return
    metric = metric_words(trials[0].config.objective.metric)
    headers = ("trial", "dataset", "model", "epoch", f"{metric} now", "best", "learning rate")
    yield Table(headers, tuple(map(_row, trials[:MOST])), names=3)
    yield from _more(trials)


def _row(trial: TrialState) -> tuple[str, ...]:
    last = trial.value(trial.epoch) if trial.epoch else None
    lr = trial.values.get("optimizer.lr", trial.values.get("lr"))
    shown = f"{lr:.3g}" if isinstance(lr, int | float) else "-"
    epochs = f"{trial.epoch} of {trial.config.epochs}"
    return f"#{trial.id}", trial.cell.dataset, trial.cell.model, epochs, number(last), number(trial.best), shown


def _failures(trials: Sequence[TrialState], outline: Outline) -> Iterator[Block]:
    headers = "trial", "dataset", "model", "state", "after", "reason"
    rows = (
        (f"#{one.id}", one.cell.dataset, one.cell.model, one.status, f"{one.epoch} epochs", one.reason)
        for one in trials[:MOST]
    )
    yield Table(headers, tuple(rows), names=len(headers))
    yield from _more(trials)
    yield Text(f"`segsweep why {trials[0].id} {outline.name}` tells more about one of them.", "note")


def _more(trials: Sequence[TrialState]) -> Iterator[Block]:
    if len(trials) > MOST:
        yield Text(f"And {len(trials) - MOST} more.", "note")


def blocks(tables: Sequence[PlainTable], warnings: Sequence[str]) -> list[Block]:
    """Tables of a board as the templates draw them."""
    found: list[Block] = [Text(warning, "warning") for warning in warnings]
    for table in tables:
        found += [Text(table.title, "heading")] * bool(table.title and table.title != "Leaderboard")
        names = _names(table)
        found.append(Table(table.headers, tuple(tuple(map(text_of, row)) for row in table.rows), names))
        found += [Text(note, "warning" if note.startswith("Warning") else "note") for note in table.notes]
    return found


def _names(table: PlainTable) -> int:
    """Columns of texts at its left: the first, and the second of what was confirmed."""
    return 2 if table.headers[:2] == ("dataset", "confirmed") else 1
