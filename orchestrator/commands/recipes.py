"""segsweep recipes"""

from __future__ import annotations

import click

from segsweep.orchestrator.commands._options import as_json


@click.command("recipes", short_help="List the training recipes, or show one.")
@click.argument("name", required=False)
@as_json
def command(name: str | None, as_json: bool) -> None:
    """List every recipe that a model's entry may name (`recipe: segformer`); with NAME, show what that one says."""
    import json
    import shutil
    import textwrap

    from segsweep.orchestrator.checking import recipes
    from segsweep.orchestrator.errors import InputError, Mistake
    from segsweep.trainables.catalog import UnknownComponentError

    try:
        found = [recipes.read(each) for each in ([name] if name else recipes.names())]
    except UnknownComponentError as error:
        raise InputError(Mistake("NAME", str(error))) from None
    names = [source.name.removeprefix("recipe ") for source in found]
    if as_json:
        tree = [{"name": n, "source": recipes.head(s), "says": s.data} for n, s in zip(names, found, strict=True)]
        click.echo(json.dumps(tree[0] if name else tree, indent=1))
        return
    if name:
        click.echo(found[0].text.rstrip())
        return
    room = shutil.get_terminal_size((120, 24)).columns - (indent := max(map(len, names)) + 2)
    for each, source in zip(names, found, strict=True):
        click.echo(each.ljust(indent) + textwrap.shorten(recipes.head(source), max(20, room), placeholder=" …"))
