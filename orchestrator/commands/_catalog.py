"""The commands that list and explain a catalogue: models, losses, optimizers and so on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import click

from segsweep.orchestrator.commands._options import as_json

Counts: TypeAlias = Callable[[str], dict[str, float]]
"""A component's name -> numbers that describe it, by what they are called."""


def catalog_command(verb: str, catalog: str, noun: str) -> click.Command:
    """`segsweep VERB [NAME]`. catalog: its name in segsweep.trainables.catalog; noun: "loss", for help texts."""

    @click.command(verb, short_help=f"List the {verb}, or explain one.")
    @click.argument("name", required=False)
    @as_json
    def command(name: str | None, as_json: bool) -> None:
        from segsweep.trainables import catalog as catalogs

        show(getattr(catalogs, catalog), name, as_json)

    command.help = f"List every {noun}; with NAME, explain that one: what it is, its paper, its options."
    return command


def show(catalog: Any, name: str | None, as_json: bool, counted: Counts | None = None) -> None:
    """Print the whole catalogue as a table, or one component as a page; `counted` adds numbers to either."""
    import json
    import shutil

    from segsweep.orchestrator import handbook
    from segsweep.orchestrator.errors import InputError, Mistake
    from segsweep.trainables.catalog import UnknownComponentError

    try:
        found = [handbook.component(catalog, each) for each in ([name] if name else catalog.names())]
    except UnknownComponentError as error:
        raise InputError(Mistake("NAME", str(error))) from None
    if counted is not None:
        for each in found:
            each["counts"] = counted(each["name"])
    if as_json:
        click.echo(json.dumps(found[0] if name else found, indent=1))
        return
    width = shutil.get_terminal_size((120, 24)).columns
    for line in handbook.as_page(found[0], width) if name else handbook.as_table(found, width):
        click.echo(line)
