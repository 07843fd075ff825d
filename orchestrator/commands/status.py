"""segsweep status"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import as_json, storage


@click.command("status", short_help="How far a sweep is, from its journal.")
@click.argument("sweep", required=False)
@storage
@as_json
def command(sweep: str | None, storage: Path, as_json: bool) -> None:
    """How far SWEEP (a name, a folder or an address; default: the last one) is: trials by state, best of each cell."""
    import json

    from segsweep.orchestrator.commands._options import sweep_folder
    from segsweep.orchestrator.watching.status import as_lines, facts

    found = facts(sweep_folder(sweep, storage))
    if as_json:
        click.echo(json.dumps(found))
        return
    for line in as_lines(found):
        click.echo(line)
