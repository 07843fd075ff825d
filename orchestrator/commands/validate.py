"""segsweep validate"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import as_json, overrides, search_space


@click.command("validate", short_help="Check a search-space file; every mistake at once.")
@search_space
@overrides
@as_json
def command(file: Path, assignments: tuple[str, ...], as_json: bool) -> None:
    """Check a search-space file and report every mistake with its line. Reads no data, starts nothing."""
    import json

    from segsweep.orchestrator.commands._options import checked
    from segsweep.orchestrator.errors import ExitCode, InputError
    from segsweep.trainables.plurals import counted

    try:
        result = checked(file, assignments)
    except InputError as error:
        if not as_json:
            raise
        mistakes = [{"place": m.place, "message": m.message} for m in error.mistakes]
        click.echo(json.dumps({"valid": False, "mistakes": mistakes, "warnings": []}))
        raise SystemExit(ExitCode.INPUT) from None
    warnings = [str(mistake) for mistake in (*result.missing, *result.unfetched)]
    if as_json:
        click.echo(json.dumps({"valid": True, "mistakes": [], "warnings": warnings}))
        return
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    spec = result.spec
    cells = f"{counted(len(spec.datasets), 'dataset')} x {counted(len(spec.models), 'model')}"
    click.echo(f"{file}: valid. {cells}. Next: segsweep plan {file}")
