"""segsweep encoders"""

from __future__ import annotations

import click

from segsweep.orchestrator.commands._options import as_json


@click.command("encoders", short_help="List the encoders that models of SMP take.")
@click.argument("pattern", required=False)
@as_json
def command(pattern: str | None, as_json: bool) -> None:
    """List SMP's encoders and timm's (tu-NAME); with PATTERN (resnet, tu-convnext*), those whose name has it.

    The columns: name, family (which decides the ranges of lr and weight decay), weights known by name.
    """
    import json
    from fnmatch import fnmatch

    from segsweep.orchestrator.errors import InputError, Mistake
    from segsweep.orchestrator.table import aligned
    from segsweep.trainables.models import _encoders

    wanted = pattern if pattern and "*" in pattern else f"*{pattern or ''}*"
    found = [e for name in _encoders.names() if fnmatch(name, wanted) and (e := _encoders.find(name)) is not None]
    if not found:
        raise InputError(Mistake("PATTERN", _encoders.unknown(str(pattern))))
    if as_json:
        click.echo(json.dumps([{"name": e.name, "family": e.family, "weights": e.weights} for e in found], indent=1))
        return
    for line in aligned([(e.name, e.family, " ".join(e.weights)) for e in found], right=()):
        click.echo(line)
