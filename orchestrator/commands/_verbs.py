"""Groups of commands whose verbs are files, imported when they are called."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, cast

import click


class VerbGroup(click.Group):
    """Finds verbs by file name: launch.py in `package` holds the click command `launch`, named `command`."""

    def __init__(self, *args: Any, package: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        folder = importlib.import_module(self._package).__path__
        return sorted(m.name for m in pkgutil.iter_modules(folder) if not m.name.startswith("_"))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{self._package}.{name}")
        return cast(click.Command, module.command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises click's UsageError, which names the verb that was probably meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from segsweep.trainables.catalog import did_you_mean  # with pydantic, which --help goes without

            hint = did_you_mean(args[0], self.list_commands(ctx))
            raise click.UsageError(error.format_message() + hint, ctx) from None
