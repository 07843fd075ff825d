"""What is wrong in many places, told at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from segsweep.trainables.components import DataError

SHOWN = 5  # how many of many bad files a message lists

Name = TypeVar("Name", bound=str)
Part = TypeVar("Part")


def summed_up(problems: Sequence[DataError]) -> DataError:
    """One error for at least one: it shows the first few, and has all of them in `each`."""
    lines = [str(problem) for problem in problems[:SHOWN]]
    lines += [f"... and {len(problems) - SHOWN} more"] * (len(problems) > SHOWN)
    return DataError("\n".join(lines), problems[0].kind, [one for problem in problems for one in problem.each])


def of_each(names: Iterable[Name], build: Callable[[Name], Part]) -> dict[Name, Part]:
    """What `build` makes of each split. Raises one DataError for all of which it makes nothing."""
    built: dict[Name, Part] = {}
    problems: list[DataError] = []
    for name in names:
        try:
            built[name] = build(name)
        except DataError as error:
            problems.append(error)
    if problems:
        raise summed_up(problems)
    return built
