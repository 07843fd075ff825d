"""segsweep compare"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import as_json, storage, tables_as, tracking_uris


@click.command("compare", short_help="Two trials side by side.")
@click.argument("run")
@click.argument("other")
@click.option("--dataset", help="Where RUN or OTHER is a sweep over several: the best on this one.")
@click.option("--metric", default="val_miou", show_default=True, help="Whose values and curves are shown.")
@tables_as
@storage
@tracking_uris
@as_json
def command(
    run: str,
    other: str,
    dataset: str | None,
    metric: str,
    form: str,
    storage: Path,
    uris: tuple[str, ...],
    as_json: bool,
) -> None:
    """What two trials differ in: configuration, curves, IoUs of classes, and images (with a paired test).

    RUN and OTHER are each a SWEEP (name, uid or folder: its best run, as best takes it), SWEEP:TRIAL, or run:ID.
    """
    from segsweep.orchestrator.board.compare import compare, row_of
    from segsweep.orchestrator.board.several import opened
    from segsweep.orchestrator.board.tables import FORMATS
    from segsweep.orchestrator.board.trained import Where, named
    from segsweep.orchestrator.errors import InputError

    index, unread = opened(uris)
    trials = [named(each, Where(storage, uris), dataset=dataset) for each in (run, other)]
    rows = [row_of(index, trial, metric) for trial in trials]
    click.echo(FORMATS["json" if as_json else form](list(compare(index, rows[0], rows[1], metric))))
    InputError.raise_if(unread)
