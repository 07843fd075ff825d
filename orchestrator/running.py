"""What launch and resume print around a run: where things are, the leaderboard, the next command."""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.errors import ExitCode
from segsweep.orchestrator.launching import Machinery, Outcome, run
from segsweep.orchestrator.leaderboard import board_text
from segsweep.orchestrator.next_step import resume_command
from segsweep.orchestrator.preflight import Announce
from segsweep.orchestrator.recorded import recorded
from segsweep.orchestrator.state import SweepState
from segsweep.orchestrator.tracking.records import sweep_uid
from segsweep.orchestrator.view import last_words


def announcer(how: Machinery) -> Announce:
    """Prints progress on stderr, or nothing if quiet."""

    def announce(line: str) -> None:
        if not how.quiet:
            click.echo(line, err=True)

    return announce


def run_to_the_end(folder: Path, how: Machinery) -> ExitCode:
    """Run the sweep in `folder`, print its leaderboard on stdout, and say what comes next."""
    announce = announcer(how)
    announce(f"Sweep {folder.name} in {folder}")
    try:
        outcome = run(folder, how, announce)
    except KeyboardInterrupt:  # before the sweep could be stopped cleanly, or the second Ctrl-C
        click.echo(f"{folder.name} was stopped at once. Go on: {resume_command(folder)}", err=True)
        return ExitCode.INTERRUPTED
    if outcome.code != ExitCode.INTERRUPTED:
        _show_board(outcome)
    if not how.quiet or outcome.code == ExitCode.INTERRUPTED:
        click.echo(last_words(SweepState.load(folder / "journal.jsonl"), outcome.code, folder), err=True)
    return outcome.code


def _show_board(outcome: Outcome) -> None:
    if outcome.unsent:
        click.echo(f"MLflow lacks {outcome.unsent} events; later: segsweep sync {outcome.folder.name}", err=True)
        return
    uid = sweep_uid(recorded(outcome.folder).created)  # others may have used the name in this store
    click.echo(board_text(outcome.tracking_uri, uid))
