"""What pause, stop and cancel share: they ask the driver of a running sweep, wherever it runs."""

from __future__ import annotations

import getpass
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segsweep.orchestrator.commands._options import storage

if TYPE_CHECKING:
    from segsweep.orchestrator.driving.halting import Verb

WAITS_S = 0.5  # between looks at whether the driver has ended


def request_command(verb: Verb, short_help: str, text: str) -> click.Command:
    """`segsweep VERB SWEEP`; text: what becomes of the trials that run."""

    @storage
    @click.option("--wait", is_flag=True, help="Return when the sweep has ended.")
    @click.argument("sweep", required=False)
    def command(sweep: str | None, wait: bool, storage: Path) -> None:
        from segsweep.orchestrator.commands._options import sweep_folder
        from segsweep.orchestrator.driving.halting import request
        from segsweep.orchestrator.errors import InputError, Mistake
        from segsweep.orchestrator.mirroring.lease import runs_elsewhere
        from segsweep.orchestrator.next_step import resume_command
        from segsweep.orchestrator.watching.status import is_running

        folder = sweep_folder(sweep, storage)
        if not is_running(folder):
            raise InputError(Mistake(folder.name, "does not run; `segsweep status` tells how far it is"))
        if (driver := runs_elsewhere(folder)) is not None:
            raise InputError(Mistake(folder.name, f"is run by {driver}; ask there"))
        request(folder, verb, f"{getpass.getuser()} on {platform.node()}")
        click.echo(f"{folder.name}: {verb} is asked for. Later: {resume_command(folder)}", err=True)
        if wait:
            _until(lambda: not is_running(folder))

    command.__doc__ = f"""{text}

    SWEEP is a name or a folder; default: the last one. Works from any machine that sees the folder. Nothing that was
    recorded is lost; `segsweep resume` goes on."""
    return click.command(verb, short_help=short_help)(command)


def _until(met: Callable[[], bool]) -> None:
    import time

    while not met():
        time.sleep(WAITS_S)
