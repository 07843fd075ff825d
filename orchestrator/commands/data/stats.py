"""segsweep data stats"""

from __future__ import annotations

from pathlib import Path

import click

from segsweep.orchestrator.commands._options import as_json, dataset_names, overrides, search_space


@click.command("stats", short_help="Show sizes, class frequencies and class weights; draw them.")
@search_space
@dataset_names
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data-stats"),
    show_default=True,
    help="The folder for the pictures.",
)
@overrides
@as_json
def command(file: Path, names: tuple[str, ...], folder: Path, assignments: tuple[str, ...], as_json: bool) -> None:
    """Read every image of the datasets of a search-space file and show what they are like.

    For each split: image sizes, how often each class is labelled, void, mean and standard deviation of the channels;
    from the train split: how uneven the classes are, and the class weights that every method of balancing gives.

    Two pictures of each dataset: NAME-classes.png, the share of each class in each split, and NAME-overlays.png, some
    images with their labels over them.
    """
    import json

    from segsweep.orchestrator.commands._options import checked, chosen_datasets
    from segsweep.orchestrator.data.stats import as_lines, measured, open_all
    from segsweep.orchestrator.errors import InputError, Mistake

    datasets = chosen_datasets(checked(file, assignments).spec, names)
    found, mistakes = [], list[Mistake]()
    for dataset, opened in zip(datasets, open_all(datasets), strict=True):
        try:
            found.append(measured(dataset, opened, folder))
        except InputError as error:
            mistakes += error.mistakes
            continue
        if not as_json:
            click.echo("\n".join([*as_lines(found[-1]), ""]))
    if as_json:
        click.echo(json.dumps({"datasets": found}))
    InputError.raise_if(mistakes)
    if not as_json:
        for path in (picture for facts in found for picture in facts["pictures"]):
            click.echo(path)
        click.echo(f"Next: segsweep plan {file}")
