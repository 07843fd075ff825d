"""segsweep report"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import as_json, storage


@click.command("report", short_help="One HTML page about a sweep, to pass around.")
@click.argument("sweep", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: SWEEP-report.html.")
@click.option("--images/--no-images", default=True, help="Predict the worst and best images.  [default: --images]")
@click.option("--mlflow/--no-mlflow", default=True,
              help="Store page and figures beside the sweep's run, too.  [default: --mlflow]")  # fmt: skip
@storage
@as_json
def command(sweep: str | None, output: Path | None, images: bool, mlflow: bool, storage: Path, as_json: bool) -> None:
    """Write what SWEEP (a name, a folder or an address; default: the last one) found into one page.

    It needs no network. Works while the sweep runs. An MLflow that does not take the page is told, and changes nothing.
    """
    import json

    from segsweep.orchestrator.commands._options import sweep_folder
    from segsweep.orchestrator.report.making import make

    made = make(sweep_folder(sweep, storage), output, images=images, mlflow=mlflow)
    for problem in made.problems:
        click.echo(f"warning: {problem}", err=True)
    if as_json:
        click.echo(json.dumps({"file": str(made.file), "bytes": made.bytes, "plots": made.plots, "mlflow": made.run}))
    else:
        stored = f", and in MLflow's run {made.run}" if made.run else ""
        click.echo(f"{made.file}: {made.plots} plots, {made.bytes / 1e6:.1f} MB{stored}")
