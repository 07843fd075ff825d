"""List files: which images make a split, one a line. Every message names the list and the line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from segsweep.trainables.components import DataError, Sample
from segsweep.trainables.datasets._problems import summed_up

Words = Sequence[str]


def listed(path: Path, sample: Callable[[Words], Sample], example: str) -> Sequence[Sample]:
    """A sample for each line of the list; blank lines and those that begin with # are skipped.

    sample: makes one of a line's words and raises DataError; example: a good line, for messages.
    Raises DataError for a list that is missing, empty or names an image twice, and one for all lines without sample.
    """
    if not path.is_file():
        raise DataError(f"{path}: missing. It has to list the split's images, one a line, such as '{example}'")
    found: dict[str, Sample] = {}
    problems: list[DataError] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            one = sample(line.split())
        except DataError as error:
            problems.append(DataError(f"{path}:{number}: {error}", error.kind))
            continue
        if one.id in found:
            problems.append(DataError(f"{path}:{number}: '{one.id}' is listed twice"))
        found[one.id] = one
    if problems:
        raise summed_up(problems)
    if not found:
        raise DataError(f"{path}: names no image. A line is such as '{example}'")
    return list(found.values())
