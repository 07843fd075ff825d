"""Watching a sweep: a calm live panel on a terminal, one line an event where output is piped, nothing if quiet."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.durations import duration
from segsweep.orchestrator.errors import ExitCode
from segsweep.orchestrator.next_step import leaderboard_command, report_command, resume_command
from segsweep.orchestrator.planning.allocation import told
from segsweep.orchestrator.record.journal import AttemptEnded, AttemptStarted, EpochDone, Event, RoundClosed
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell, TrialState, best_of
from segsweep.orchestrator.watching.standing import told_winner, winners

REFRESHES_A_SECOND = 2
EVENTS_SHOWN = 5


class View:
    def __init__(self, *, quiet: bool, problems: Callable[[], Iterable[str | None]]) -> None:
        """problems: why something lags behind, such as MLflow; None where nothing does."""
        self._quiet = quiet
        self._problems = problems
        self._console = Console(file=sys.stderr)
        self._sweep: Sweep | None = None
        self._lines: deque[str] = deque(maxlen=EVENTS_SHOWN)
        self._began = time.monotonic()
        self._epochs_before = 0

    @property
    def live(self) -> bool:
        return self._console.is_terminal and not self._quiet

    @contextmanager
    def watching(self, sweep: Sweep) -> Iterator[None]:
        self._sweep = sweep
        self._began = time.monotonic()
        self._epochs_before = epochs_done(sweep.state)
        if not self.live:
            yield
            return
        with Live(
            get_renderable=self.panel, console=self._console, refresh_per_second=REFRESHES_A_SECOND, transient=True
        ):
            yield

    def on_event(self, event: Event) -> None:
        """A listener of the sweep."""
        line = self._line(event)
        if line is None:
            return
        self._lines.append(line)
        if not self.live and not self._quiet:
            print(line, file=sys.stderr, flush=True)

    def _line(self, event: Event) -> str | None:
        if isinstance(event, RoundClosed):
            return f"{_clock(event)} {told(event)}"
        if self._sweep is None or not isinstance(event, AttemptStarted | AttemptEnded | EpochDone):
            return None
        trial = self._sweep.state.trials[event.trial]
        who = f"{_clock(event)} {trial.config.label} on {trial.cell.dataset}"
        if trial.confirms:
            who += f" (confirms #{trial.confirms})"
        match event:
            case AttemptStarted(cause="promote") | AttemptEnded(status="paused"):
                return None  # every trial pauses at every rung: nothing to watch
            case AttemptStarted():
                again = "" if event.cause == "new" else f" ({event.cause}, from epoch {trial.epoch + 1})"
                return f"{who}: started{again}"
            case AttemptEnded():
                return f"{who}: {event.status} after epoch {trial.epoch}: {event.reason}; best {_number(trial.best)}"
        return None

    def panel(self) -> Group:
        """What the terminal shows now."""
        assert self._sweep is not None
        state = self._sweep.state
        headline = Text(self._headline(state), style="bold")
        parts: list[RenderableType] = [headline, self._table(state), *map(Text, list(self._lines))]
        parts += [Text(f"lags behind: {problem}", style="yellow") for problem in self._problems() if problem]
        halted = self._sweep.halted
        hint = (
            "Ctrl-C stops cleanly"
            if halted is None
            else f"stopping{f': {halted.reason}' if halted.reason else ''}; Ctrl-C quits at once"
        )
        return Group(*parts, Text(hint, style="dim"))

    def _headline(self, state: SweepState) -> str:
        assert self._sweep is not None
        plan = self._sweep.plan
        trials, confirming = state.searched, len(state.trials) - len(state.searched)
        counts = {status: sum(t.status == status for t in trials) for status in _SHOWN}
        shown = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        done = epochs_done(state) - self._epochs_before
        elapsed_s = time.monotonic() - self._began
        rate = f", {60 * done / elapsed_s:.1f} epochs/min" if done else ""
        return (
            f"{plan.spec.name}: {len(trials)} of {plan.trials} trials ({shown or 'none yet'})"
            f"{f', {confirming} confirmations' if confirming else ''}  "
            f"{duration(elapsed_s)}{rate}{self._time_left(state, done, elapsed_s)}"
        )

    def _time_left(self, state: SweepState, done: int, elapsed_s: float) -> str:
        expected = state.created.plan.get("epochs_expected") if state.created else None
        if done < 2 or not isinstance(expected, int | float):
            return ""
        left = max(0.0, expected - epochs_done(state))
        return f", about {duration(left * elapsed_s / done)} left"

    def _table(self, state: SweepState) -> Table:
        assert self._sweep is not None
        plan = self._sweep.plan
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("dataset", "model", plan.spec.objective.metric, "trial", "trials", "finished"):
            table.add_column(column, justify="right" if column in ("trials", "finished") else "left")
        for cell in plan.cells:
            table.add_row(*self._row(cell, state.cell(cell), self._sweep.allotment.trials[cell]))
        return table

    def _row(self, cell: Cell, trials: list[TrialState], planned: int) -> list[str]:
        best = best_of(trials) if trials else None
        finished = sum(t.status == "finished" for t in trials)
        value, name = (_number(best.best), f"#{best.id}") if best and best.best is not None else ("-", "")
        return [cell.dataset, cell.model, value, name, f"{len(trials)}/{planned}", str(finished)]


def _clock(event: Event) -> str:
    return time.strftime("%H:%M:%S", time.localtime(event.time))


_SHOWN = ("running", "finished", "stopped", "paused", "failed", "infeasible", "interrupted", "superseded")


def epochs_done(state: SweepState) -> int:
    return sum(trial.epoch for trial in list(state.trials.values()))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def last_words(state: SweepState, code: int, folder: Path) -> str:
    """The last line of a run: what came out, and the next command."""
    assert state.created is not None
    name, trials = state.created.sweep, state.searched
    why = f": {state.ended.reason}" if state.ended and state.ended.reason else ""
    if code == ExitCode.INTERRUPTED:
        return f"{name} stopped after {len(trials)} trials{why}. Go on: {resume_command(folder)}"
    failed = sum(trial.status == "failed" for trial in trials)
    infeasible = sum(trial.status == "infeasible" for trial in trials)
    parts = [f"{len(trials)} trials, {failed} failed{f', {infeasible} infeasible' if infeasible else ''}."]
    won = winners(state)
    parts += [f"{told_winner(dataset, best)}." for dataset, best in won.items()]
    if empty := sorted({trial.cell.dataset for trial in trials} - won.keys()):
        parts.append(f"{', '.join(empty)}: no finished trial; `segsweep why TRIAL {name}` tells why.")
    if state.rounds:
        counts = Counter(trial.cell for trial in trials).values()
        parts.append(f"Trials were allotted adaptively, {min(counts)} to {max(counts)} a cell.")
    if code == ExitCode.BUDGET:
        parts.append(f"The sweep ended early{why}.")
    following = [leaderboard_command(name, state.created.tracking_uri)]
    following += [report_command(folder)] * any(trial.confirms for trial in state.trials.values())
    return " ".join([*parts, f"Next: {', '.join(following)}"])
