"""segsweep plan"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import as_json, overrides, search_space


@click.command("plan", short_help="Show what would run: cells, trials, epochs, concurrency.")
@search_space
@overrides
@as_json
def command(file: Path, assignments: tuple[str, ...], as_json: bool) -> None:
    """Show what `launch` would run on this machine: cells, combinations, trials, epochs. Runs nothing."""
    import json

    from segsweep.orchestrator.capacity import local_capacity
    from segsweep.orchestrator.commands._options import checked
    from segsweep.orchestrator.plan import SweepPlan
    from segsweep.orchestrator.planning import as_lines, summary

    result = checked(file, assignments)
    plan = SweepPlan.of(result.spec)
    facts = summary(plan, local_capacity())
    if as_json:
        click.echo(json.dumps({**facts, "warnings": [str(mistake) for mistake in result.missing]}))
        return
    for warning in result.missing:
        click.echo(f"warning: {warning}", err=True)
    for line in as_lines(facts):
        click.echo(line)
    click.echo(f"Next: segsweep launch {file}")
