"""segsweep data cache: its verbs are the files of this folder"""

from __future__ import annotations

import click

from segsweep.orchestrator.commands._verbs import VerbGroup


@click.command("cache", cls=VerbGroup, package=__name__, short_help="The decoded images of this machine.")
def command() -> None:
    """The decoded images of this machine, which all trials share, and what was fetched of datasets at addresses.

    They lie in $SEGSWEEP_CACHE, by default ~/.cache/segsweep, and take up to $SEGSWEEP_CACHE_GIB GiB, by default half
    of the disk's room. What was not used for the longest time makes room for what is needed; nothing in use does.
    """
