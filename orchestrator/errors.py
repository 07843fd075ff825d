"""Errors that users can act on, and the exit code of every outcome."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    DONE = 0
    INTERNAL = 1
    INPUT = 2
    FAILED_CELLS = 3
    BUDGET = 4
    INTERRUPTED = 130


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong: where, what, what would be right."""

    place: str  # "cityscapes.yaml:12: models[1].encoder", "--set trials", a path; "" if there is none
    message: str  # value, what is allowed, remedy

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class InputError(Exception):
    """Everything that is wrong with what the user gave, all of it at once. The CLI prints it and exits with 2."""

    def __init__(self, *mistakes: Mistake | str) -> None:
        self.mistakes = tuple(m if isinstance(m, Mistake) else Mistake("", m) for m in mistakes)
        super().__init__("\n".join(map(str, self.mistakes)))

    @classmethod
    def raise_if(cls, mistakes: Iterable[Mistake]) -> None:
        """Raise one InputError for all `mistakes`, if there are any."""
        if found := tuple(mistakes):
            raise cls(*found)
