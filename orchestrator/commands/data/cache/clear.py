"""segsweep data cache clear"""

from __future__ import annotations

import click

from segsweep.orchestrator.commands._options import as_json


@click.command("clear", short_help="Remove what is cached.")
@click.argument("pattern", default="*")
@click.option(
    "--force", is_flag=True, help="Also what is in use: running trials keep it, the disk has the room when they end."
)
@as_json
def command(pattern: str, force: bool, as_json: bool) -> None:
    """Remove the cached images of datasets whose name matches PATTERN, such as 'street*'; without it, of all.

    What is in use, or being decoded, stays and is named. Datasets themselves are never touched.
    """
    import json

    from segsweep.orchestrator.data.cache import clear
    from segsweep.trainables.places import cache_folder

    folder = cache_folder()
    removed, kept = clear(folder, pattern, force=force)
    freed = sum(entry["gib"] for entry in removed)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "freed_gib": freed, "removed": removed, "kept": kept}))
        return
    for entry in kept:
        click.echo(f"kept {entry['folder']}: in use" + ("" if force else "; --force removes it"), err=True)
    click.echo(f"{freed:.2f} GiB freed, {len(removed)} removed, {len(kept)} kept in {folder}")
