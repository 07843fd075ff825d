"""Which group a sample of the user's own files belongs to: a patient, a city, a film."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Self

from pydantic import field_validator, model_validator

from segsweep.trainables.components import ComponentOptions, DataError


class GroupOptions(ComponentOptions):
    """Either a pattern with one pair of parentheses, searched in the id; or a column of a CSV file, one line an id."""

    pattern: str | None = None  # "^(patient\\d+)_"
    file: str | None = None  # below the dataset's root
    column: str | None = None
    key: str = "id"  # the column that holds the ids

    @field_validator("pattern")
    @classmethod
    def _one_group(cls, pattern: str | None) -> str | None:
        try:
            if pattern is not None and re.compile(pattern).groups != 1:
                raise ValueError("must hold one pair of parentheses, around the part that names the group")
        except re.error as error:
            raise ValueError(f"must be a regular expression ({error})") from None
        return pattern

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.pattern is None) == (self.file is None) or (self.file is None) != (self.column is None):
            raise ValueError("needs either `pattern` or `file` and `column`")
        return self


def group_of(options: GroupOptions | None, root: Path) -> Callable[[str], str]:
    """The group of an id, "" for all where no groups are asked for. Raises DataError, then and later."""
    if options is None:
        return lambda id_: ""
    if options.pattern is not None:
        return lambda id_: _matched(str(options.pattern), id_)
    path = root / str(options.file)
    known = _column(path, options.key, str(options.column))

    def group(id_: str) -> str:
        found = known.get(id_) or known.get(Path(id_).name)  # with or without the folder that the id begins with
        if not found:
            raise DataError(f"{path}: no line with a {options.column} for '{id_}' in the column {options.key}")
        return found

    return group


def _matched(pattern: str, id_: str) -> str:
    match = re.search(pattern, id_)
    if not match or not match[1]:
        raise DataError(f"'{id_}' does not match `group: {{pattern: {pattern}}}`, so it would be in no group")
    return str(match[1])


def _column(path: Path, key: str, column: str) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if missing := {key, column} - {*(rows.fieldnames or ())}:
                have = ", ".join(rows.fieldnames or ()) or "none"
                raise DataError(f"{path}: has no column '{min(missing)}'; its columns are {have}")
            return {row[key]: row[column] or "" for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}; `group` names this file") from None
