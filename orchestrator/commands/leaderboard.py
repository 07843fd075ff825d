"""segsweep leaderboard"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from segsweep.orchestrator.commands._options import as_json, tables_as, tracking_uris


@click.command("leaderboard", short_help="Who won, read from MLflow.")
@click.argument("sweep", required=False)
@click.option("--dataset", help="Only this dataset.")
@click.option("--metric", help="What to rank by, e.g. val_dice or val_iou/car. Default: the sweep's objective.")
@click.option("--sort", default="value", show_default=True, help="value, rank, model, params, cost, or a dataset.")
@click.option("--where", multiple=True, metavar="CONDITION",
              help="Only trials of which it holds, by any parameter: 'lr<1e-3', loss=dice. Several: all.")  # fmt: skip
@click.option("--columns", metavar="A,B",
              help="Beside the datasets: counts, mean, rank (mean over datasets), params, gmacs, latency, memory, "
                   "licence (of pretrained weights), cost.")  # fmt: skip
@click.option("--per-class", is_flag=True, help="The IoU of every class instead, of each model's best trial.")
@click.option("--external", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Results of others, a CSV with model, dataset, metric: shown below, never ranked.")  # fmt: skip
@click.option("--external-dataset", multiple=True, metavar="OURS=THEIRS",
              help="What that file calls a dataset, if not the same.")  # fmt: skip
@tables_as
@tracking_uris
@as_json
def command(
    columns: str | None, per_class: bool, form: str, uris: tuple[str, ...], as_json: bool, **given: Any
) -> None:
    """Models against datasets: the best finished trial of each, of SWEEP (a name or uid) or of all there are.

    Stopped and failed trials are counted but never rank.
    """
    from segsweep.orchestrator.board.classes import class_tables
    from segsweep.orchestrator.board.formats import FORMATS
    from segsweep.orchestrator.board.leaderboard import Asked, board_of
    from segsweep.orchestrator.board.several import opened
    from segsweep.orchestrator.board.tables import FORMATS as TABLE_FORMATS
    from segsweep.orchestrator.errors import InputError, Mistake

    if given["external_dataset"] and not given["external"]:
        called = f"--external-dataset {given['external_dataset'][0]}"
        raise InputError(Mistake(called, "says what a file calls a dataset; name the file with --external FILE"))
    (source, unread), form = opened(uris), "json" if as_json else form
    board = board_of(source, Asked(columns=tuple(columns.split(",") if columns else ()), **given))
    if per_class:
        click.echo(TABLE_FORMATS[form](list(class_tables(board, source))))
    else:
        click.echo(FORMATS[form](board))
    if form == "csv" or per_class:
        for warning in board.warnings:
            click.echo(f"warning: {warning}", err=True)
    InputError.raise_if(unread)
