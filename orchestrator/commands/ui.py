"""segsweep ui"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import storage, tracking_uri


@click.command("ui", short_help="Pages about all sweeps, in a browser.")
@tracking_uri
@storage
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; others than loopback are open.")
@click.option("--port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="0: any that is free.")
@click.option("--mlflow/--no-mlflow", default=True, help="MLflow's own page, too.  [default: --mlflow]")
def command(uri: str | None, storage: Path, host: str, port: int, mlflow: bool) -> None:
    """Serve leaderboard, live state and report of every sweep until Ctrl-C. Only reads, and only on this machine.

    MLflow's page of a SQLite store is served as well, on the next free port.
    """
    from segsweep.orchestrator.tracking.store import resolve_uri
    from segsweep.orchestrator.ui.serving import Place, serve, warning

    if said := warning(host):
        click.echo(f"warning: {said}", err=True)

    def ready(address: str, of_mlflow: str) -> None:
        click.echo(f"{address} (Ctrl-C ends it)")
        if of_mlflow:
            click.echo(f"{of_mlflow} is MLflow's own page, once its server has started")

    serve(storage, resolve_uri(uri, Path.cwd()), Place(host, port), mlflow=mlflow, ready=ready)
