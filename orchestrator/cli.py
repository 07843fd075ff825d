"""The `segsweep` command. Each verb is a file in commands/, imported when it is called."""

from __future__ import annotations

import os
import sys

import click

from segsweep.orchestrator import commands
from segsweep.orchestrator.commands._verbs import VerbGroup
from segsweep.orchestrator.errors import ExitCode, InputError

# pydantic would read the metadata of every installed package to look for plug-ins of its own: 30 ms a start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


@click.command(
    cls=VerbGroup,
    package=commands.__name__,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="segsweep")
def cli() -> None:
    """Sweep segmentation models over datasets and get a leaderboard that you can trust.

    \b
    segsweep validate FILE     is the search space right?
    segsweep plan FILE         what would run, and for how long?
    segsweep launch FILE       run it
    segsweep leaderboard       who won?
    """


def main() -> None:
    """Entry point: turns InputError into its message and exit code 2, Ctrl-C into 130."""
    try:
        sys.exit(cli(standalone_mode=False))
    except InputError as error:
        for mistake in error.mistakes:
            click.echo(f"error: {mistake}", err=True)
        sys.exit(ExitCode.INPUT)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(ExitCode.INTERRUPTED)
