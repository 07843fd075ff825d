"""segsweep reproduce"""

from __future__ import annotations

from typing import Any

import click

from segsweep.orchestrator.commands._options import as_json
from segsweep.orchestrator.commands._trained import RUN, chosen, found, of_run


@click.command("reproduce", short_help="The exact configuration of a trial, with versions, commit and data.")
@of_run
@as_json
def command(as_json: bool, uri: str | None, **given: Any) -> None:
    import json

    from segsweep.orchestrator.checking.reproduction import as_yaml, single_point
    from segsweep.orchestrator.exporting.origin import origin

    trained = found(given["run"], given["storage"], uri, given["dataset"], given["model"])
    came = origin(trained, uri)
    tree, objective = single_point(came.config), came.config.objective.metric
    value = {} if trained.value is None else {objective: trained.value}
    facts = {"run": str(trained), **value, **chosen(trained), **came.comments}
    differences = list(came.differences())
    if as_json:
        click.echo(json.dumps({**facts, "differences": differences, "search_space": tree}, indent=2))
        return
    for difference in differences:
        click.echo(f"warning: {difference}", err=True)
    click.echo(as_yaml(tree, [f"{key}: {value}" for key, value in facts.items()]))


command.help = f"""Print a search space that trains the network of RUN again, and what it was made with.

{RUN}

\b
segsweep reproduce camvid-1:017 > again.yaml
segsweep launch again.yaml

On a CPU, with the same versions and data, the score is the same. What differs here from then is told as a warning.
"""
