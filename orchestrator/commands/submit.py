"""segsweep submit"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import as_json, overrides, search_space


@click.command("submit", short_help="Hand a search space to a running Ray cluster.")
@search_space
@overrides
@click.option(
    "--address",
    required=True,
    envvar="RAY_API_SERVER_ADDRESS",
    help="The cluster's dashboard, such as http://HEAD:8265; else $RAY_API_SERVER_ADDRESS.",
)
@click.option(
    "--folder",
    default="/mnt/segsweep",
    show_default=True,
    help="The cluster's folder, shared by its nodes, where `launch` runs: it holds sweeps/ and mlflow.db.",
)
@click.option("--name", help="The sweep's name, as with launch.")
@click.option("--follow", is_flag=True, help="Print what the job prints, until it ends; exit with its code.")
@as_json
def command(
    file: Path,
    assignments: tuple[str, ...],
    address: str,
    folder: str,
    name: str | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Check FILE here, then run `segsweep launch` with it as a job on the head of a Ray cluster.

    FILE is sent along with the plug-in modules that it names, unless they are installed packages. Data and weights are
    looked for on the cluster. The token is ~/.ray/auth_token, or $RAY_AUTH_TOKEN.
    """
    import json

    from segsweep.orchestrator.commands._options import checked
    from segsweep.orchestrator.errors import ExitCode, InputError
    from segsweep.orchestrator.launching import submission
    from segsweep.orchestrator.launching.preflight import uncounted_gpus

    result = checked(file, assignments)
    spec = result.spec
    InputError.raise_if(result.source.mistake(*fault) for fault in uncounted_gpus(spec))
    launch = [part for each in assignments for part in ("--set", each)] + (["--name", name] if name else [])
    client = submission.connect(address)
    job = submission.submit(client, submission.Submission(spec.name, file, spec.plugins, launch, folder))
    here = f"--address {address} {job}"
    if as_json:
        click.echo(json.dumps({"job": job, "address": address}))
    else:
        click.echo(f"{job} was submitted. Follow: ray job logs --follow {here}. Stop: ray job stop {here}", err=True)
    if not follow:
        return
    try:
        raise SystemExit(submission.follow(client, job, lambda lines: click.echo(lines, nl=False)))
    except KeyboardInterrupt:
        click.echo(f"{job} goes on. Follow: ray job logs --follow {here}. Stop: ray job stop {here}", err=True)
        raise SystemExit(ExitCode.INTERRUPTED) from None
