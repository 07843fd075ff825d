"""What `models` and `profile` share: how a single model and its input are named on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class ImageSize(click.ParamType[tuple[int, int]]):
    """512x1024 -> (512, 1024): height, width."""

    name = "HxW"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        height, _, width = value.lower().partition("x")
        if not (height.isdecimal() and width.isdecimal() and int(height) >= 8 and int(width) >= 8):
            self.fail(f"{value!r} is no size; give height x width, both at least 8, e.g. 512x1024", param, ctx)
        return int(height), int(width)


def of_model(command: F) -> F:
    """--classes N and --set OPTION=VALUE."""
    for option in (
        click.option(
            "--classes", type=click.IntRange(2, 254), default=19, show_default=True, help="How many it tells."
        ),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="OPTION=VALUE",
            help="An option of the model, e.g. --set encoder=resnet50.",
        ),
    ):
        command = option(command)
    return command
