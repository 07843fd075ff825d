"""segsweep plan"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import as_json, overrides, search_space, storage


@click.command("plan", short_help="Show what would run: cells, trials, epochs, time and cost.")
@search_space
@click.option(
    "--times",
    "sweeps",
    multiple=True,
    metavar="SWEEP",
    help="Take times from this earlier sweep (name, folder, journal).",
)
@click.option(
    "--measure", is_flag=True, help="Time a few steps of every cell on this machine, and measure their memory."
)
@overrides
@storage
@as_json
def command(
    file: Path, sweeps: tuple[str, ...], measure: bool, assignments: tuple[str, ...], storage: Path, as_json: bool
) -> None:
    """Show what `launch` would run on this machine: cells, combinations, trials, expected epochs. Runs no sweep.

    With --measure, or --times SWEEP (may be given several times), also how long it takes and what it costs.
    """
    import json
    from functools import partial

    from segsweep.orchestrator.checking.roots import absolute_roots
    from segsweep.orchestrator.commands._options import checked, journal_of
    from segsweep.orchestrator.errors import InputError, Mistake
    from segsweep.orchestrator.forecasting.paces import measured_paces, recorded_paces
    from segsweep.orchestrator.forecasting.summary import as_lines, summary
    from segsweep.orchestrator.launching.preflight import check_data
    from segsweep.orchestrator.planning.plan import SweepPlan
    from segsweep.orchestrator.resources.capacity import local_capacity
    from segsweep.orchestrator.resources.fits import fit
    from segsweep.orchestrator.resources.memory_probe import known, measured

    if sweeps and measure:
        raise InputError(Mistake("--measure", "and --times answer the same question; give one of them"))
    announce = partial(click.echo, err=True)
    result = checked(file, assignments)
    plan, capacity, paces = SweepPlan.of(absolute_roots(result.spec)), local_capacity(), None  # as launch has it
    if sweeps:
        journals = [journal_of(sweep, storage) for sweep in sweeps]
        paces = recorded_paces(plan, journals, capacity.gpus_per_trial(plan.spec.resources))
    elif measure:
        InputError.raise_if(result.missing)
        check_data(plan.spec, result.source, announce, decode=True)
        paces = measured_paces(plan, capacity, announce)
    resources = plan.spec.resources
    find = partial(measured, announce=announce) if measure else known
    probe = partial(find, cpus=resources.cpus, gpus=capacity.gpus_per_trial(resources))
    facts = summary(plan, capacity, paces, fit(plan, capacity, probe))
    if as_json:
        click.echo(json.dumps({**facts, "warnings": [str(mistake) for mistake in result.missing]}))
        return
    for warning in result.missing:
        click.echo(f"warning: {warning}", err=True)
    for line in as_lines(facts):
        click.echo(line)
    click.echo(f"Next: segsweep launch {file}")
