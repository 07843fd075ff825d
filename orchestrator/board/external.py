"""Results of others, from a CSV, below a board: never ranked or tested with trials, as nobody here scored them."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from segsweep.orchestrator.board.names import expect_known
from segsweep.orchestrator.board.tables import Cell, Table
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.trainables.metric_names import metric_named

MODEL = ("model", "architecture", "method")  # the first of these that the file has names its rows
PARTS = ("variant", "encoder", "backbone")  # which these add to
VALUES = {"val_miou": ("val_miou", "miou", "mIoU"), "val_dice": ("val_dice", "mdice", "dice")}
MOST = 10  # rows shown to people
PERCENT = 1.5  # a value above it cannot be a share


class ExternalRow(NamedTuple):
    model: str
    dataset: str
    value: float  # a share, as ours
    source: str = ""  # file and column


class External(NamedTuple):
    rows: tuple[ExternalRow, ...] = ()
    warnings: tuple[str, ...] = ()


def read_external(path: Path, metric: str, datasets: Sequence[str], called: Sequence[str] = ()) -> External:
    """Of our datasets, by them: the best value of each model, the best first.

    Columns: model (or architecture, with variant, encoder or backbone), dataset, and the metric by its name or mIoU.
    Percent are made shares. called: OURS=THEIRS; else names match that have the same letters and digits, in any case.
    Raises InputError if the file cannot be read, lacks a column, or has none of the datasets.
    """
    lines, source = _lines(path, metric)
    in_percent = metric in VALUES and any(row.value > PERCENT for row in lines)
    ours = _ours(datasets, called, {row.dataset for row in lines})
    pick = max if metric_named(metric).better == "max" else min
    best: dict[tuple[str, str], float] = {}
    for row in lines:
        if dataset := ours.get(row.dataset):
            value = row.value / 100 if in_percent else row.value
            best[dataset, row.model] = pick(best.get((dataset, row.model), value), value)
    missing = ", ".join(dataset for dataset in datasets if dataset not in {where for where, _ in best})
    there = f"it has {', '.join(sorted({row.dataset for row in lines}))}" if lines else "it has no value at all"
    told = f"has nothing on {missing}; {there} (--external-dataset OURS=THEIRS says which of them are the same)"
    if not best:
        raise InputError(Mistake(f"--external {path}", told))
    sign = -1.0 if pick is max else 1.0
    ordered = sorted(best.items(), key=lambda item: (item[0][0], sign * item[1], item[0][1]))
    rows = tuple(ExternalRow(model, dataset, value, source) for (dataset, model), value in ordered)
    return External(rows, (f"--external {path} {told}",) if missing else ())


def _ours(datasets: Sequence[str], called: Sequence[str], theirs: Collection[str]) -> Mapping[str, str]:
    """The file's name of a dataset -> ours. Raises InputError for OURS=THEIRS that are not there."""
    pairs = [text.partition("=")[::2] for text in called]
    for our, their in pairs:
        expect_known("--external-dataset", our, datasets)
        expect_known(f"--external-dataset {our}", their, theirs)
    alike = {_plain(dataset): dataset for dataset in datasets if dataset not in {our for our, _ in pairs}}
    named = {name: dataset for name in theirs if (dataset := alike.get(_plain(name)))}
    return named | {their: our for our, their in pairs}


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def _lines(path: Path, metric: str) -> tuple[list[ExternalRow], str]:
    """As the file has them, less those without a value; and which column the values are from."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            lines, headers = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(Mistake(f"--external {path}", f"cannot be read: {error}")) from None
    wanted = {"model": MODEL, "dataset": ("dataset",), metric: VALUES.get(metric, (metric,))}
    columns = {what: next((name for name in names if name in headers), "") for what, names in wanted.items()}
    InputError.raise_if(
        Mistake(f"--external {path}", f"has no column {' or '.join(wanted[what])}; it has {', '.join(headers)}")
        for what, column in columns.items()
        if not column
    )
    model, dataset, of = columns.values()
    read = ((line, _value(line[of], f"--external {path}:{number}: {of}")) for number, line in enumerate(lines, 2))
    rows = [ExternalRow(_model(line, model), line[dataset], value) for line, value in read if value is not None]
    return rows, f"{of} of {path.name}"


def _model(line: Mapping[str, str], column: str) -> str:
    parts = [line.get(part) for part in (column, *(part for part in PARTS if part != column))]
    return "/".join(part for part in parts if part)


def _value(text: str | None, place: str) -> float | None:
    """None for an empty cell."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise InputError(Mistake(place, f"'{text}' is no number; leave cells without a value empty")) from None
    return None if math.isnan(value) else value


def external_tables(rows: Sequence[ExternalRow], metric: str) -> Iterator[Table]:
    """One for each dataset."""
    for dataset in dict.fromkeys(row.dataset for row in rows):
        here = [row for row in rows if row.dataset == dataset]
        left = f"{len(here) - MOST} more in --format csv and json; " if len(here) > MOST else ""
        cells: list[tuple[Cell, ...]] = [(row.model, row.value) for row in here[:MOST]]
        note = f"{left}{here[0].source}: trained and scored by others in their own ways, so not ranked with the trials"
        yield Table(f"{dataset}: external results", ("model", metric), tuple(cells), (note,))
