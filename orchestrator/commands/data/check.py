"""segsweep data check"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import as_json, dataset_names, overrides, search_space

SHOWN = 10  # of a kind


@click.command("check", short_help="Look for faults in the data before a sweep does.")
@search_space
@dataset_names
@overrides
@as_json
def command(file: Path, names: tuple[str, ...], assignments: tuple[str, ...], as_json: bool) -> None:
    """Read every image and mask of the datasets in FILE and compare their splits. Writes nothing.

    Faults: unpaired and unreadable files, sizes or EXIF orientations that do not fit, values that are no class,
    interpolated masks, empty splits, images that are in two splits. Warnings: classes that a split lacks, groups and
    almost equal images in two splits, duplicates. Exit codes: 0 no fault, 2 some.
    """
    import json

    from segsweep.orchestrator.checking.roots import stage
    from segsweep.orchestrator.commands._options import checked, chosen_datasets
    from segsweep.orchestrator.data.check import as_facts, as_lines
    from segsweep.orchestrator.errors import ExitCode, InputError, Mistake
    from segsweep.orchestrator.progress import Progress
    from segsweep.trainables.components import DataError
    from segsweep.trainables.plurals import counted
    from segsweep.trainables.survey.audit import audit

    facts, faults = [], 0
    for dataset in chosen_datasets(checked(file, assignments).spec, names):
        try:
            stage(dataset)
            with Progress(f"{dataset.name}: reading") as progress:
                found = audit(dataset.type, dataset.options, None if as_json else SHOWN, progress)
        except DataError as error:
            raise InputError(Mistake(dataset.name, str(error))) from error
        faults += found.findings.total("fault")
        if as_json:
            facts.append(as_facts(dataset.name, found))
            continue
        for line in as_lines(dataset.name, found):
            click.echo(line)
    if as_json:
        click.echo(json.dumps({"faults": faults, "datasets": facts}))
    elif faults:
        click.echo(f"{counted(faults, 'fault')} to be put right. Next: segsweep data check {file}")
    else:
        click.echo(f"No fault. Next: segsweep plan {file}")
    raise SystemExit(ExitCode.INPUT if faults else ExitCode.DONE)
