"""segsweep sync"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import as_json, storage


@click.command("sync", short_help="Send to MLflow, and to the sweep's address, what an outage held back.")
@click.argument("sweep", required=False)
@storage
@as_json
def command(sweep: str | None, storage: Path, as_json: bool) -> None:
    """Bring MLflow up to date with the journal of SWEEP (a name, a folder or an address; default: the last one).

    A sweep that is kept at an address (--storage s3://...) is brought up to date there too. Doing it twice changes
    nothing.
    """
    import json
    from functools import partial

    from segsweep.orchestrator.commands._options import sweep_folder
    from segsweep.orchestrator.mirroring import mirror
    from segsweep.orchestrator.mirroring.places import address_of
    from segsweep.orchestrator.tracking.writer import sync
    from segsweep.trainables.plurals import counted

    folder = sweep_folder(sweep, storage, announce=partial(click.echo, err=True))
    files = mirror.sync(folder)
    sent = sync(folder)
    if as_json:
        click.echo(json.dumps({"sweep": folder.name, "sent": sent, "files": files}))
        return
    if files:
        click.echo(f"{counted(files, 'file')} sent to {address_of(folder)}")
    click.echo(f"{counted(sent, 'event')} sent. Next: segsweep leaderboard {folder.name}")
