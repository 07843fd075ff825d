"""segsweep launch"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from segsweep.orchestrator.commands._options import as_json, machinery, overrides, search_space, storage

if TYPE_CHECKING:
    from segsweep.orchestrator.launching.launch import Machinery


@click.command("launch", short_help="Run a search space; ends with the leaderboard.")
@search_space
@overrides
@storage
@click.option("--name", help="The sweep's name; an existing one is refused. Default: the file's name and a number.")
@machinery
@as_json
def command(
    file: Path,
    assignments: tuple[str, ...],
    storage: Path,
    name: str | None,
    how: Machinery,
    as_json: bool,
) -> None:
    """Run the sweep that FILE describes, on this machine or on a Ray cluster.

    Ctrl-C once stops it cleanly; `segsweep resume` goes on with it. Exit codes: 0 done, 2 invalid input,
    3 done but a cell has no finished trial, 4 the budget is used up, 130 interrupted.
    """
    from segsweep.orchestrator.commands._options import checked
    from segsweep.orchestrator.commands._run import announcer, run_to_the_end
    from segsweep.orchestrator.launching.launch import create

    folder = create(checked(file, assignments), storage, name, how, announcer(how))
    raise SystemExit(run_to_the_end(folder, how, as_json=as_json))
