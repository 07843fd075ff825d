"""segsweep data: its verbs are the files of this folder"""

from __future__ import annotations

import click

from segsweep.orchestrator.commands._verbs import VerbGroup


@click.command("data", cls=VerbGroup, package=__name__, short_help="Look after datasets and their cache.")
def command() -> None:
    """Look after datasets and the cache of their decoded images."""
