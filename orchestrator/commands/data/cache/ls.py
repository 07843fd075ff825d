"""segsweep data cache ls"""

from __future__ import annotations

import click

from segsweep.orchestrator.commands._options import as_json


@click.command("ls", short_help="List what is cached.")
@as_json
def command(as_json: bool) -> None:
    """List what is cached, what was used last first: size, images, who uses it, what is damaged.

    Unfinished and damaged entries are completed when a trial wants them.
    """
    import json

    from segsweep.orchestrator.data.cache import as_lines, facts
    from segsweep.trainables.places import cache_folder

    folder = cache_folder()
    found = facts(folder)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "entries": found}))
        return
    for line in as_lines(found):
        click.echo(line)
    click.echo(f"{sum(entry['gib'] for entry in found):.2f} GiB in {folder}", err=True)
