"""segsweep simulate"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import as_json, overrides, search_space


@click.command("simulate", short_help="Try settings on recorded curves before GPU-hours are spent.")
@search_space
@click.option(
    "--curves",
    "sources",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="A sweep's folder or journal, its trials run to the end; may be given several times.",
)
@click.option("--continue-stopped", is_flag=True, help="Let curves of stopped trials go on at their best value so far.")
@click.option(
    "--workers", type=click.IntRange(1), help="Trials at once. Default: as many as `launch` would run on this machine."
)
@overrides
@as_json
def command(
    file: Path,
    sources: tuple[Path, ...],
    continue_stopped: bool,
    workers: int | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the searcher and scheduler of FILE on recorded curves, in virtual time: nothing is trained or kept.

    A proposed trial replays the recorded trial of its cell that is nearest to it. Shown are the epochs that were used,
    and how much each cell's best value falls short of the best that was recorded.

    \b
    segsweep simulate space.yaml --curves sweeps/full-1 --workers 4 --set scheduler=asha
    """
    import json

    from segsweep.orchestrator.commands._options import checked
    from segsweep.orchestrator.forecasting.curves import Recording
    from segsweep.orchestrator.forecasting.simulation import as_lines, simulate
    from segsweep.orchestrator.forecasting.summary import concurrency
    from segsweep.orchestrator.planning.plan import SweepPlan
    from segsweep.orchestrator.resources.capacity import local_capacity

    plan = SweepPlan.of(checked(file, assignments).spec)
    recording = Recording(plan, sources, continue_stopped=continue_stopped)
    found = simulate(recording, workers or max(1, concurrency(plan.spec, local_capacity())))
    if as_json:
        click.echo(json.dumps(found))
        return
    for line in as_lines(found):
        click.echo(line)
    click.echo(f"Next: segsweep launch {file}")
