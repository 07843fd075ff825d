"""segsweep profile"""

from __future__ import annotations

import click

from segsweep.orchestrator.commands._models import ImageSize, of_model
from segsweep.orchestrator.commands._options import as_json


@click.command("profile", short_help="Measure a model's speed and memory on this machine.")
@click.argument("model")
@click.option("--size", type=ImageSize(), required=True, help="Of the images, e.g. 512x1024.")
@click.option("--batch-size", type=click.IntRange(1), default=2, show_default=True, help="For throughput and memory.")
@click.option("--cpus", type=click.IntRange(1), default=1, show_default=True, help="Threads.")
@click.option("--gpu", is_flag=True, help="On the GPU.")
@of_model
@as_json
def command(
    model: str,
    size: tuple[int, int],
    batch_size: int,
    cpus: int,
    gpu: bool,
    classes: int,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Build MODEL (see `segsweep models`) and print what predicting and training a few batches of noise took."""
    import json

    from segsweep.orchestrator import model_costs
    from segsweep.trainables.components import Task
    from segsweep.trainables.plurals import counted

    chosen = model_costs.chosen(model, assignments, Task(classes, size, batch_size))
    found = model_costs.profile(chosen, cpus=cpus, gpus=float(gpu))
    if as_json:
        click.echo(json.dumps({"model": model, "size": size, "batch_size": batch_size, **found._asdict()}))
        return
    click.echo(f"{model}, {classes} classes, {size[0]}x{size[1]}, {'GPU' if gpu else counted(cpus, 'CPU thread')}")
    click.echo(f"parameters  {found.params_m:.2f} M")
    click.echo(f"work        {found.gmacs:.2f} GMAC an image")
    click.echo(f"latency     {found.latency_ms:.1f} ms for one image")
    click.echo(
        f"predicting  {found.eval_images_per_second:.2f} images/s in batches of {batch_size}, "
        f"{found.eval_memory_gib:.2f} GiB at most"
    )
    click.echo(
        f"training    {found.train_images_per_second:.2f} images/s in batches of {batch_size}, "
        f"{found.train_memory_gib:.2f} GiB at most"
    )
