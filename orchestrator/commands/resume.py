"""segsweep resume"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from segsweep.orchestrator.commands._options import as_json, machinery, storage

if TYPE_CHECKING:
    from segsweep.orchestrator.launching.launch import Machinery


@click.command("resume", short_help="Go on with a sweep that was interrupted or killed.")
@click.argument("sweep", required=False)
@storage
@machinery
@as_json
def command(
    sweep: str | None,
    storage: Path,
    how: Machinery,
    as_json: bool,
) -> None:
    """Finish SWEEP (a name, a folder or an address; default: the last one) from its journal.

    Unfinished trials go on from their last checkpoint; rungs, the searcher's knowledge and MLflow runs continue.
    """
    from segsweep.orchestrator.commands._options import sweep_folder
    from segsweep.orchestrator.commands._run import announcer, run_to_the_end

    folder = sweep_folder(sweep, storage, announce=announcer(how), trials=how.address is None)
    raise SystemExit(run_to_the_end(folder, how, as_json=as_json))
