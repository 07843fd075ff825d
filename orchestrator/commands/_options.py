"""Options that several commands share, and how they find a sweep."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from segsweep.orchestrator.checking.validation import Checked
    from segsweep.orchestrator.progress import Announce
    from segsweep.orchestrator.space.spec import ComponentSpec, SweepSpec
    from segsweep.trainables.addresses import Address

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
        help="The folder, or the address (s3://bucket/sweeps, gs://...), that holds the sweeps.",
    )(command)


def _storage_folder(context: click.Context, option: click.Parameter, given: str) -> Path:
    """Of an address the folder here where its sweeps run. Raises InputError."""
    from segsweep.orchestrator.mirroring.places import address_given, working_storage
    from segsweep.trainables.addresses import is_address

    return working_storage(address_given(given, "--storage")) if is_address(given) else Path(given)


def tables_as(command: F) -> F:
    """--format FORM: how a command prints its tables."""
    forms = click.Choice(["table", "markdown", "csv", "json", "html"])
    return click.option("--format", "form", type=forms, default="table", show_default=True, help="How to print it.")(
        command
    )


def tracking_uri(command: F) -> F:
    """--tracking-uri URI: which MLflow store is read."""
    return click.option(
        "--tracking-uri",
        "uri",
        metavar="URI",
        help="The MLflow store. Default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db in the current folder.",
    )(command)


def tracking_uris(command: F) -> F:
    """--tracking-uri URI, as often as wanted: whose sweeps are shown together."""
    return click.option(
        "--tracking-uri",
        "uris",
        multiple=True,
        metavar="URI",
        help="The MLflow store; repeated: all of them. One that cannot be read is told, the others are shown, and the "
        "exit code is 2. Default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db in the current folder.",
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


def sweep_folder(sweep: str | None, storage: Path, *, announce: Announce | None = None, trials: bool = True) -> Path:
    """The folder of a sweep named or given by path or address; without a name, the one that was touched last.

    announce: given by whoever will write there: of a sweep that is kept at an address, all is fetched that others did;
    without `trials` only the journal.
    """
    from segsweep.orchestrator.errors import InputError, Mistake
    from segsweep.orchestrator.record.journal import JOURNAL, sweeps_in
    from segsweep.trainables.catalog import did_you_mean

    if (address := _sweep_address(sweep, storage)) is not None:
        from segsweep.orchestrator.mirroring.download import looked_at, taken_up

        return looked_at(address) if announce is None else taken_up(address, announce, trials=trials)
    if sweep is not None and (Path(sweep) / JOURNAL).is_file():
        return Path(sweep)
    found = sweeps_in(storage)
    if sweep is None and found:
        return max(found.values(), key=lambda folder: (folder / JOURNAL).stat().st_mtime)
    if sweep in found:
        return found[sweep]
    if not found:
        raise InputError(Mistake(str(storage), "holds no sweep; start one with `segsweep launch FILE`"))
    names = ", ".join(sorted(found))
    raise InputError(Mistake(str(storage), f"no sweep '{sweep}'.{did_you_mean(str(sweep), found)} There are: {names}"))


def _sweep_address(sweep: str | None, storage: Path) -> Address | None:
    """Where a sweep is kept; None if in a folder. Raises InputError."""
    from segsweep.orchestrator.errors import InputError, Mistake
    from segsweep.orchestrator.mirroring.places import address_given, address_of, storage_address
    from segsweep.orchestrator.record.journal import JOURNAL
    from segsweep.trainables.addresses import is_address
    from segsweep.trainables.components import DataError

    if sweep is not None and is_address(sweep):
        try:
            address = address_given(sweep, "SWEEP")
            return address.parent and address
        except DataError:
            raise InputError(Mistake(f"SWEEP {sweep}", "names no sweep; give s3://bucket/sweeps/NAME")) from None
    if sweep is not None and (Path(sweep) / JOURNAL).is_file():
        return address_of(Path(sweep))
    if (there := storage_address(storage)) is None:
        return None
    from segsweep.orchestrator.mirroring.download import newest_at

    return newest_at(there) if sweep is None else there / sweep


def journal_of(sweep: str, storage: Path) -> Path:
    """The journal of a sweep named, or given by its folder or journal."""
    from segsweep.orchestrator.record.journal import JOURNAL

    return Path(sweep) if Path(sweep).is_file() else sweep_folder(sweep, storage) / JOURNAL


def machinery(command: F) -> F:
    """How launch and resume run: on Ray or here, which cluster, which port, how loud; `command` gets it as `how`."""

    @functools.wraps(command)
    def with_machinery(
        *args: Any, in_process: bool, address: str | None, dashboard_port: int | None, quiet: bool, **others: Any
    ) -> Any:
        from segsweep.orchestrator.launching.launch import Machinery

        return command(*args, how=Machinery(in_process, address, dashboard_port, quiet), **others)

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
        with_machinery = option(with_machinery)
    return cast(F, with_machinery)
