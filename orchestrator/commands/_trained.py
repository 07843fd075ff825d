"""How a trained network is named on the command line; what predict shares with other commands that use one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from segsweep.orchestrator.commands._options import storage, tracking_uri

if TYPE_CHECKING:
    from segsweep.orchestrator.board.trained import Trained

F = TypeVar("F", bound=Callable[..., Any])

RUN = """RUN is a SWEEP (name, uid or folder), SWEEP:TRIAL, run:ID of MLflow, a best.pt, or what `segsweep export`
wrote. Of a SWEEP that was confirmed it is the best run of the configuration with the best mean over fresh seeds, on
val; else the best finished trial."""


def of_run(command: F) -> F:
    """RUN, and where it is looked for: --dataset, --model, --storage, --tracking-uri. See `found`."""
    for option in (
        tracking_uri,
        storage,
        click.option("--model", help="The best of this model, by its name on the leaderboard."),
        click.option("--dataset", help="The best on this dataset, where RUN is a sweep over several."),
        click.argument("run"),
    ):
        command = option(command)
    return command


def found(run: str, storage: Path, uri: str | None, dataset: str | None, model: str | None) -> Trained:
    """The trial that the options of `of_run` name. Raises InputError."""
    from segsweep.orchestrator.board.trained import Where, find

    return find(run, Where(storage, [uri] if uri else ()), dataset=dataset, model=model)


def chosen(trained: Trained) -> dict[str, str]:
    """Why this run, where the user named a sweep; for --json and comments."""
    return {"chosen": trained.why} if trained.why else {}


def tell_chosen(trained: Trained) -> None:
    """The same for people."""
    if trained.why:
        click.echo(f"{trained}: {trained.why}")
