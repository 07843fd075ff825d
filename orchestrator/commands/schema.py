"""segsweep schema"""

from __future__ import annotations

import click


@click.command("schema", short_help="Print the JSON schema of search-space files, for editors.")
def command() -> None:
    """Print the JSON schema of search-space files. Editors complete and check with it."""
    import json

    from segsweep.orchestrator.checking.schema import search_space_schema

    click.echo(json.dumps(search_space_schema(), indent=2))
