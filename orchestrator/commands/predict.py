"""segsweep predict"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from segsweep.orchestrator.commands._models import ImageSize
from segsweep.orchestrator.commands._options import as_json
from segsweep.orchestrator.commands._trained import RUN, chosen, found, of_run, tell_chosen


class FedSize(ImageSize):
    """Also the word original."""

    def convert(  # type: ignore[override]
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int] | Literal["original"]:
        return "original" if value == "original" else super().convert(value, param, ctx)


class Head(click.ParamType[tuple[int, int]]):
    """3:2 -> (3, 2), 3:mean -> (3, 0)."""

    name = "LAYER:HEAD"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        layer, _, head = value.partition(":")
        if not (layer.isdecimal() and int(layer) and (head == "mean" or (head.isdecimal() and int(head)))):
            self.fail(f"{value!r} must be LAYER:HEAD, both from 1, or LAYER:mean", param, ctx)
        return int(layer), 0 if head == "mean" else int(head)


class Pixel(click.ParamType[tuple[int, int]]):
    """120,40 -> (120, 40)."""

    name = "X,Y"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        x, _, y = value.partition(",")
        if not (x.isdecimal() and y.isdecimal()):
            self.fail(f"{value!r} must be x,y: pixels from the left and from the top", param, ctx)
        return int(x), int(y)


class Widths(click.ParamType[tuple[float, float]]):
    """67,3 -> (67.0, 3.0)."""

    name = "XY,RGB"

    def convert(
        self, value: str | tuple[float, float], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        try:
            xy, rgb = (float(part) for part in value.split(","))
        except ValueError:
            xy = rgb = 0
        if not (1 <= xy <= 10_000 and 1 <= rgb <= 10_000):
            self.fail(f"{value!r} must be XY,RGB: pixels and colour values, each from 1 to 10000", param, ctx)
        return xy, rgb


@click.command("predict", short_help="Segment images and videos with a trained network.")
@of_run
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("predictions"),
              show_default=True)  # fmt: skip
@click.option("--ids", type=click.Choice(["train", "original", "cityscapes"]), default="train", show_default=True,
              help="Values in masks: class numbers, the dataset's own, or Cityscapes' ids and file names.")  # fmt: skip
@click.option("--overlay", is_flag=True, help="Pictures of the classes over the image, with a legend.")
@click.option("--side-by-side", is_flag=True, help="The image and its overlay beside each other.")
@click.option("--alpha", type=click.FloatRange(0, 1), default=0.6, show_default=True, help="Of an overlay's colours.")
@click.option("--classes", metavar="A,B", help="Show these classes only; other pixels are void.")
@click.option("--roi", metavar="X,Y,W,H", help="Let the network see this region of each image only.")
@click.option("--crf", type=Widths(), help="Draw labels to edges by a dense CRF of these standard deviations, in "
              "pixels and in colour values of 0 to 255, e.g. 67,3.")  # fmt: skip
@click.option("--clean", type=click.IntRange(0), default=0, metavar="N",
              help="Give segments of fewer than N pixels to the class around them.")  # fmt: skip
@click.option("--masks", metavar="DIR", help="True masks, in the dataset's own values: scores, and maps of errors.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--batch-size", type=click.IntRange(1), help="Halved where memory is short. Default: the trial's.")
@click.option("--size", type=FedSize(), help="That the network is fed, or original. Default: the trial's.")
@click.option("--window", type=ImageSize(), help="Predict in overlapping windows.")
@click.option("--whole", is_flag=True, help="Predict without windows.")
@click.option("--overlap", type=float, help="Share of a window that the next one covers again.")
@click.option("--flip/--no-flip", default=None, help="Average with the mirrored image.")
@click.option("--scales", metavar="A,B", help="Average over these multiples of the size, e.g. 0.75,1,1.25.")
@click.option("--grad-cam", multiple=True, metavar="CLASS", help="Where the encoder saw this class; repeatable.")
@click.option("--attention", multiple=True, type=Head(), help="What a head attends to from --pixel; repeatable.")
@click.option("--pixel", type=Pixel(), help="Of the image, for --attention and, if you like, for --grad-cam.")
@as_json
def command(inputs: tuple[Path, ...], as_json: bool, device: Literal["auto", "cpu", "cuda"], **given: Any) -> None:
    import json

    from segsweep.orchestrator.errors import InputError
    from segsweep.orchestrator.predicting.request import Request
    from segsweep.orchestrator.predicting.run import as_lines, checked, model_of, predict

    trained = found(*(given.pop(name) for name in ("run", "storage", "uri", "dataset", "model")))
    request = Request(**given)
    sources = checked(inputs, request, trained)
    outcome = predict(model_of(trained, device), sources, request)
    if as_json:
        files = [str(path) for path in outcome.files]
        facts = {"run": str(trained), **chosen(trained), "checkpoint": str(trained.checkpoint), "files": files}
        click.echo(
            json.dumps({**facts, "scores": outcome.scores, "mistakes": [str(mistake) for mistake in outcome.mistakes]})
        )
    else:
        tell_chosen(trained)
        click.echo("\n".join(as_lines(outcome, request.output)))
    InputError.raise_if(outcome.mistakes)


command.help = f"""Predict INPUT (images, videos, folders of them) with a trained network, as its trial was scored.

{RUN}

Masks are indexed PNGs in OUTPUT/masks; videos become overlays of as many frames in OUTPUT/videos.
"""
