"""Names that a user gave, against those that there are."""

from __future__ import annotations

from collections.abc import Iterable

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.trainables.catalog import did_you_mean


def expect_known(place: str, name: str | None, known: Iterable[str]) -> None:
    """Raises InputError for a name that is none of the known ones; None is no name."""
    names = sorted(known)
    if name is not None and name not in names:
        there = f"There are: {', '.join(names)}"
        raise InputError(Mistake(f"{place} {name}", f"is not known.{did_you_mean(name, names)} {there}"))
