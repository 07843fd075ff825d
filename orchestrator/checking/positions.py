"""Where the values of a spec stand in what the user wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from segsweep.orchestrator.errors import Mistake
from segsweep.orchestrator.space.source import KeyPath, Source

At: TypeAlias = Callable[[KeyPath, str], Mistake]
"""Places a message about a value of the spec."""


@dataclass(frozen=True)
class Positions:
    """Of each list of a spec, where its entries stand in the source's: ill-formed ones are left out of a spec."""

    source: Source
    of_lists: Mapping[KeyPath, list[int]]

    def at(self, path: KeyPath, message: str) -> Mistake:
        given: KeyPath = ()
        for part in path:  # places in the spec's lists -> those in the source's
            found = self.of_lists.get(given)
            given = (*given, found[part] if found is not None and isinstance(part, int) else part)
        return self.source.mistake(given, message)
