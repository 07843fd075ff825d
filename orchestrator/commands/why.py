"""segsweep why"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import as_json, storage


@click.command("why", short_help="Why a trial was stopped, failed or finished.")
@click.argument("trial")
@click.argument("sweep", required=False)
@storage
@as_json
def command(trial: str, sweep: str | None, storage: Path, as_json: bool) -> None:
    """Why TRIAL (its number) of SWEEP (a name, a folder or an address; default: the last one) ended as it did."""
    import json

    from segsweep.orchestrator.commands._options import sweep_folder
    from segsweep.orchestrator.watching.why import as_lines, facts

    found = facts(sweep_folder(sweep, storage), trial)
    if as_json:
        click.echo(json.dumps(found))
        return
    for line in as_lines(found):
        click.echo(line)
