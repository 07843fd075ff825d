"""segsweep models"""

from __future__ import annotations

import click

from segsweep.orchestrator.commands._models import ImageSize, of_model
from segsweep.orchestrator.commands._options import as_json


@click.command("models", short_help="List the architectures, or explain one.")
@click.argument("name", required=False)
@click.option("--size", type=ImageSize(), help="Build and count: parameters, GMACs (multiply-adds) at this size.")
@of_model
@as_json
def command(
    name: str | None, size: tuple[int, int] | None, classes: int, assignments: tuple[str, ...], as_json: bool
) -> None:
    """List every architecture; with NAME, explain that one: what it is, paper, licence, published scores, options.

    Counting with --size takes seconds for each model.
    """
    from segsweep.orchestrator import model_costs
    from segsweep.orchestrator.commands._catalog import show
    from segsweep.trainables.catalog import MODELS
    from segsweep.trainables.components import Task

    def counted(name: str) -> dict[str, float]:
        assert size is not None
        model = model_costs.chosen(name, assignments, Task(classes, size, batch_size=2))
        return dict(model_costs.size(model)._asdict())

    if assignments and name is None:
        raise click.UsageError("--set is for one model; name it")
    show(MODELS, name, as_json, counted if size else None)
