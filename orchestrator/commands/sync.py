"""segsweep sync"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import as_json, storage


@click.command("sync", short_help="Send to MLflow what an outage held back.")
@click.argument("sweep", required=False)
@storage
@as_json
def command(sweep: str | None, storage: Path, as_json: bool) -> None:
    """Bring MLflow up to date with the journal of SWEEP (a name or a folder; default: the last one).

    Doing it twice changes nothing.
    """
    import json

    from segsweep.orchestrator.commands._options import sweep_folder
    from segsweep.orchestrator.tracking.writer import sync

    folder = sweep_folder(sweep, storage)
    sent = sync(folder)
    if as_json:
        click.echo(json.dumps({"sweep": folder.name, "sent": sent}))
        return
    click.echo(f"{sent} event{'s' * (sent != 1)} sent. Next: segsweep leaderboard {folder.name}")
