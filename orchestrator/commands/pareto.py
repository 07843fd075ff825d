"""segsweep pareto"""

from __future__ import annotations

from typing import Any

import click

from segsweep.orchestrator.commands._options import as_json, tables_as, tracking_uris

COSTS = ["latency_ms", "params_m", "gmacs", "peak_memory_gib", "cost"]


@click.command("pareto", short_help="Which models are worth what they cost.")
@click.argument("sweep", required=False)
@click.option("--by", type=click.Choice(COSTS), default="latency_ms", show_default=True,
              help="What quality is weighed against. latency_ms: the least that its trials measured, beside "
                   "others; `segsweep profile` measures alone. cost: device seconds of the search.")  # fmt: skip
@click.option("--dataset", help="Only this dataset.")
@click.option("--metric", help="Quality. Default: the sweep's objective.")
@click.option("--where", multiple=True, metavar="CONDITION", help="Only trials of which it holds; see leaderboard.")
@tables_as
@tracking_uris
@as_json
def command(by: str, form: str, uris: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """The front of quality against cost: the models that no other beats without costing more, on each dataset.

    Of SWEEP (a name or uid) or of all there are. Quality is the confirmed value where there is one.
    """
    from segsweep.orchestrator.board.leaderboard import Asked, board_of
    from segsweep.orchestrator.board.pareto import tables
    from segsweep.orchestrator.board.several import opened
    from segsweep.orchestrator.board.tables import FORMATS
    from segsweep.orchestrator.errors import InputError

    source, unread = opened(uris)
    board = board_of(source, Asked(**given))
    click.echo(FORMATS["json" if as_json else form](list(tables(board, by))))
    for warning in board.warnings:
        click.echo(f"warning: {warning}", err=True)
    InputError.raise_if(unread)
