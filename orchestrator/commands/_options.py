"""Options that several commands share, and how they find a sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from segsweep.orchestrator.checking.validation import Checked
    from segsweep.orchestrator.space.spec import ComponentSpec, SweepSpec

F = TypeVar("F", bound=Callable[..., Any])

search_space = click.argument("file", type=click.Path(path_type=Path))
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def overrides(command: F) -> F:
    """--set KEY=VALUE, as often as wanted."""
    return click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a value of the file, e.g. --set epochs=3 --set models[0].encoder=resnet18.",
    )(command)


def storage(command: F) -> F:
    """--storage DIR: where sweeps are kept."""
    return click.option(
        "--storage",
        callback=_storage_folder,
        envvar="SEGSWEEP_STORAGE",
        default="sweeps",
        show_default=True,
        help="The folder that holds the sweeps.",
    )(command)


def _storage_folder(context: click.Context, option: click.Parameter, given: str) -> Path:
    """A Path would make a folder `s3:` here of an address. Raises InputError."""
    from segsweep.orchestrator.errors import InputError, Mistake

    if "://" in given:
        why = "sweeps need a folder, as journals are locked and appended to; give one, on a shared file system where"
        remedy = "several machines train (see docs/addresses.md). Data sets may lie at addresses: `root: s3://...`"
        raise InputError(Mistake(f"--storage {given}", f"{why} {remedy}"))
    return Path(given)


def tracking_uri(command: F) -> F:
    """--tracking-uri URI: which MLflow store is read."""
    return click.option(
        "--tracking-uri",
        "uri",
        metavar="URI",
        help="The MLflow store. Default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db in the current folder.",
    )(command)


def checked(file: Path, assignments: tuple[str, ...]) -> Checked:
    """A search-space file, read and checked. Raises InputError."""
    from segsweep.orchestrator.checking.validation import check
    from segsweep.orchestrator.space.source import read

    return check(read(file, assignments))


def dataset_names(command: F) -> F:
    """--dataset NAME, as often as wanted."""
    return click.option(
        "--dataset", "names", multiple=True, metavar="NAME", help="Only this one; may be given several times."
    )(command)


def chosen_datasets(spec: SweepSpec, names: Sequence[str]) -> list[ComponentSpec]:
    """The datasets of those names, all where none is given. Raises InputError for a name that no dataset has."""
    from segsweep.orchestrator.errors import InputError, Mistake
    from segsweep.trainables.catalog import did_you_mean

    known = {dataset.name: dataset for dataset in spec.datasets}
    there = f"There are: {', '.join(known)}"
    InputError.raise_if(
        Mistake(f"--dataset {name}", f"no dataset of the file has that name.{did_you_mean(name, known)} {there}")
        for name in names
        if name not in known
    )
    return [dataset for dataset in spec.datasets if not names or dataset.name in names]


def sweep_folder(sweep: str | None, storage: Path) -> Path:
    """The folder of a sweep named or given by path; without a name, the one that was touched last."""
    from segsweep.orchestrator.errors import InputError, Mistake
    from segsweep.trainables.catalog import did_you_mean

    if sweep is not None and (Path(sweep) / "journal.jsonl").is_file():
        return Path(sweep)
    found = {path.parent.name: path.parent for path in storage.glob("*/journal.jsonl")}
    if sweep is None and found:
        return max(found.values(), key=lambda folder: (folder / "journal.jsonl").stat().st_mtime)
    if sweep in found:
        return found[sweep]
    if not found:
        raise InputError(Mistake(str(storage), "holds no sweep; start one with `segsweep launch FILE`"))
    names = ", ".join(sorted(found))
    raise InputError(Mistake(str(storage), f"no sweep '{sweep}'.{did_you_mean(str(sweep), found)} There are: {names}"))


def journal_of(sweep: str, storage: Path) -> Path:
    """The journal of a sweep named, or given by its folder or journal."""
    return Path(sweep) if Path(sweep).is_file() else sweep_folder(sweep, storage) / "journal.jsonl"


def machinery(command: F) -> F:
    """How launch and resume run: on Ray or here, which cluster, which port, how loud."""
    for option in (
        click.option("--quiet", is_flag=True, help="No progress; only results and errors."),
        click.option(
            "--dashboard-port",
            type=click.IntRange(1, 65535),
            help="Port of Ray's dashboard on loopback. Default: a free one.",
        ),
        click.option("--address", help="A running Ray cluster: auto, or HEAD:6379. Default: a local Ray."),
        click.option("--in-process", is_flag=True, help="No Ray: one trial after the other, for debugging."),
    ):
        command = option(command)
    return command
