"""segsweep ui"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import storage, tracking_uris


@click.command("ui", short_help="Pages about all sweeps, in a browser.")
@tracking_uris
@storage
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; others than loopback are open.")
@click.option("--port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="0: any that is free.")
@click.option("--mlflow/--no-mlflow", default=None,
              help="MLflow's own page, too.  [default: unless the store is a database, which everybody on this machine "
                   "could then change]")  # fmt: skip
def command(uris: tuple[str, ...], storage: Path, host: str, port: int, mlflow: bool | None) -> None:
    """Serve leaderboard, live state and report of every sweep until Ctrl-C. Only reads, and only on this machine.

    MLflow's page of a store is served as well, on the next free port; that of a server is linked.
    """
    from segsweep.orchestrator.board.several import resolved
    from segsweep.orchestrator.ui.serving import Place, serve, warning

    if said := warning(host):
        click.echo(f"warning: {said}", err=True)

    stores = resolved(uris)

    def ready(address: str, of_mlflow: dict[str, str]) -> None:
        click.echo(f"{address} (Ctrl-C ends it)")
        for store, page in of_mlflow.items():
            of = f" of {store}" if len(stores) > 1 else ""
            click.echo(f"{page} is MLflow's own page{of}, once its server has started")

    serve(storage, stores, Place(host, port), mlflow=mlflow, ready=ready)
