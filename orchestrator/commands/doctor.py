"""segsweep doctor"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import as_json, storage, tracking_uri

MARKS = {"ok": "ok     ", "warning": "warning", "fault": "FAULT  "}


@click.command("doctor", short_help="Is this machine ready for sweeps?")
@click.option("--address", help="A running Ray cluster to try: auto, or HEAD:6379. Default: a local Ray.")
@storage
@tracking_uri
@as_json
def command(address: str | None, storage: Path, uri: str | None, as_json: bool) -> None:
    """Try out Python, packages, memory, disk, weights, torch, GPUs, MLflow and Ray, in half a minute.

    Exit code 2 if there is a fault that stops every sweep. `segsweep validate FILE` says what one of them lacks.
    """
    import json

    from segsweep.orchestrator.errors import ExitCode
    from segsweep.orchestrator.launching.examination import Finding, Surroundings, examine
    from segsweep.orchestrator.tracking.store import resolve_uri

    findings: list[Finding] = []
    for finding in examine(Surroundings(storage, resolve_uri(uri, Path.cwd()), address)):
        findings.append(finding)
        if not as_json:
            click.echo(f"{MARKS[finding.state]}  {finding.subject}: {finding.message}")
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    if any(finding.state == "fault" for finding in findings):
        raise SystemExit(ExitCode.INPUT)
