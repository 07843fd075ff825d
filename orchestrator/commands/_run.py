"""What launch and resume print around a run: where things are, the leaderboard, the next command."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import click

from segsweep.orchestrator.board.leaderboard import board_text
from segsweep.orchestrator.driving.recorded import recorded
from segsweep.orchestrator.errors import ExitCode
from segsweep.orchestrator.launching.launch import Machinery, Outcome, run
from segsweep.orchestrator.mirroring.places import address_of
from segsweep.orchestrator.next_step import resume_command
from segsweep.orchestrator.progress import Announce
from segsweep.orchestrator.record.journal import JOURNAL
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.tracking.records import sweep_uid
from segsweep.orchestrator.watching.standing import Standing, winners
from segsweep.orchestrator.watching.view import last_words
from segsweep.trainables.storage import StorageError


def announcer(how: Machinery) -> Announce:
    """Prints progress on stderr, or nothing if quiet."""

    def announce(line: str) -> None:
        if not how.quiet:
            click.echo(line, err=True)

    return announce


def run_to_the_end(folder: Path, how: Machinery, *, as_json: bool = False) -> ExitCode:
    """Run the sweep in `folder`, print its leaderboard on stdout, or one JSON object, and say what comes next."""
    announce = announcer(how)
    kept = f", kept at {address}" if (address := address_of(folder)) else ""
    announce(f"Sweep {folder.name} in {folder}{kept}")
    try:
        outcome = run(folder, how, announce)
    except KeyboardInterrupt:  # before the sweep could be stopped cleanly, or the second Ctrl-C
        click.echo(f"{folder.name} was stopped at once. Go on: {resume_command(folder)}", err=True)
        if as_json:
            click.echo(json.dumps(result(folder, ExitCode.INTERRUPTED, unsent=None)))
        return ExitCode.INTERRUPTED
    except StorageError as error:  # of the journal, so that nothing more can be recorded
        click.echo(f"{folder.name} was stopped: {error}. Go on: {resume_command(folder)}", err=True)
        if as_json and folder.is_dir():
            click.echo(json.dumps(result(folder, ExitCode.INTERRUPTED, unsent=None)))
        return ExitCode.INTERRUPTED
    if as_json:
        click.echo(json.dumps(result(folder, outcome.code, outcome.unsent)))
    elif outcome.code != ExitCode.INTERRUPTED:
        _show_board(outcome)
    if not how.quiet or outcome.code == ExitCode.INTERRUPTED:
        click.echo(last_words(SweepState.load(folder / JOURNAL), outcome.code, folder), err=True)
    return outcome.code


def result(folder: Path, code: ExitCode, unsent: int | None) -> dict[str, Any]:
    """What came out, for programs. unsent: journal events that MLflow lacks; None if nobody has counted them."""
    state = SweepState.load(folder / JOURNAL)
    assert state.created is not None
    return {
        "sweep": state.created.sweep,
        "sweep_uid": sweep_uid(state.created),
        "folder": str(folder),
        "status": code.name.lower(),  # done, failed_cells, interrupted
        "code": int(code),
        "trials": dict(Counter(trial.status for trial in state.searched)),
        "confirmations": dict(Counter(trial.status for trial in state.trials.values() if trial.confirms)),
        "best": {dataset: _best(won) for dataset, won in winners(state).items()},
        "tracking_uri": state.created.tracking_uri,
        "unsent": unsent,
    }


def _best(won: Standing[TrialState]) -> dict[str, Any]:
    """value: the mean over the fresh seeds where it is confirmed."""
    trial, value = won.trial, won.value
    known = {"trial": trial.id, "model": trial.cell.model, "metric": trial.config.objective.metric, "value": value}
    return known | ({"seeds": won.seeds, "confirms": won.confirms} if won.seeds else {})


def _show_board(outcome: Outcome) -> None:
    if outcome.unsent:
        click.echo(f"MLflow lacks {outcome.unsent} events; later: segsweep sync {outcome.folder.name}", err=True)
        return
    uid = sweep_uid(recorded(outcome.folder).created)  # others may have used the name in this store
    click.echo(board_text(outcome.tracking_uri, uid))
