"""segsweep extend"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from segsweep.orchestrator.commands._options import as_json, machinery, storage

if TYPE_CHECKING:
    from pydantic import JsonValue

    from segsweep.orchestrator.launching.launch import Machinery


@click.command("extend", short_help="More trials, models, datasets, seeds or epochs of a sweep.")
@click.argument("sweep", required=False)
@click.option("--trials", metavar="N|+N", help="Of each combination: so many in all, or so many more.")
@click.option("--epochs", metavar="N|+N", help="Of each trial: so many in all, or so many more.")
@click.option("--models", multiple=True, metavar="ENTRY", help="A further one, as in the file: fpn, or a mapping.")
@click.option("--datasets", multiple=True, metavar="ENTRY", help="A further one, as in the file.")
@click.option("--seeds", multiple=True, metavar="N", help="A further one.")
@click.option("--budget", metavar="LIMITS", help="Instead of the old one: {epochs: 500}, or null for none.")
@storage
@machinery
@as_json
def command(
    sweep: str | None,
    trials: str | None,
    epochs: str | None,
    models: tuple[str, ...],
    datasets: tuple[str, ...],
    seeds: tuple[str, ...],
    budget: str | None,
    storage: Path,
    how: Machinery,
    as_json: bool,
) -> None:
    """Extend SWEEP (a name, a folder or an address; default: the last one) and run what is missing.

    With more epochs, trials of a constant lr go on from where they ended. Others followed an LR schedule that ended
    with the old limit: those that were not stopped are trained anew with their values, and the old ones count no more.

    \b
    segsweep extend camvid-1 --trials +20
    segsweep extend camvid-1 --models '{architecture: fpn, encoder: resnet34}' --datasets '{type: folder, root: nuclei}'
    """
    from segsweep.orchestrator.commands._options import sweep_folder
    from segsweep.orchestrator.commands._run import announcer, run_to_the_end
    from segsweep.orchestrator.driving.recorded import recorded
    from segsweep.orchestrator.launching.extension import extend
    from segsweep.orchestrator.space.source import value_of

    folder = sweep_folder(sweep, storage, announce=announcer(how), trials=how.address is None)
    spec = recorded(folder).spec
    wishes: dict[str, JsonValue] = {}
    for key, number in (("trials", trials), ("epochs", epochs)):
        if number is not None:
            wishes[key] = _number(f"--{key}", number, getattr(spec, key))
    for key, entries in (("models", models), ("datasets", datasets), ("seeds", seeds)):
        if entries:
            wishes[key] = [value_of(entry.removeprefix("+"), f"--{key}") for entry in entries]
    if budget is not None:
        wishes["budget"] = value_of(budget, "--budget")
    extend(folder, wishes, how, announcer(how))
    raise SystemExit(run_to_the_end(folder, how, as_json=as_json))


def _number(place: str, text: str, now: int) -> int:
    from segsweep.orchestrator.errors import InputError, Mistake

    if not text.removeprefix("+").isdecimal():
        allowed = f"a whole number such as {now + 4}, or one to add such as +4"
        raise InputError(Mistake(place, f"must be {allowed}, not '{text}'"))
    return int(text) + now * text.startswith("+")
