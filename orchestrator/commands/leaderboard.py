"""segsweep leaderboard"""

from __future__ import annotations

import click

from segsweep.orchestrator.commands._options import as_json, tracking_uri


@click.command("leaderboard", short_help="Who won, read from MLflow.")
@click.argument("sweep", required=False)
@click.option("--dataset", help="Only this dataset.")
@click.option("--metric", help="What to rank by, e.g. val_dice or val_iou/car. Default: the sweep's objective.")
@click.option("--sort", default="value", show_default=True, help="value, model, params, cost, or a dataset's name.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print it.",
)
@tracking_uri
@as_json
def command(
    sweep: str | None, dataset: str | None, metric: str | None, sort: str, form: str, uri: str | None, as_json: bool
) -> None:
    """Models against datasets: the best finished trial of each, of SWEEP (a name or uid) or of all in the store.

    Stopped and failed trials are counted but never rank.
    """
    from pathlib import Path

    from segsweep.orchestrator.board.formats import FORMATS
    from segsweep.orchestrator.board.leaderboard import read_board
    from segsweep.orchestrator.tracking.store import resolve_uri

    board = read_board(resolve_uri(uri, Path.cwd()), sweep=sweep, dataset=dataset, metric=metric, sort=sort)
    click.echo(FORMATS["json" if as_json else form](board))
    if form == "csv" and not as_json:
        for warning in board.warnings:
            click.echo(f"warning: {warning}", err=True)
