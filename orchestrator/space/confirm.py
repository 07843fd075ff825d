"""How the winners of a sweep are confirmed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from segsweep.trainables.config import Frozen


class Confirm(Frozen):
    """The best finished trials of every cell are trained again with fresh seeds, and scored on the test split."""

    top: Annotated[int, Field(ge=1)] = 2  # trials of each cell
    seeds: Annotated[int, Field(ge=2)] = 3  # of each of them; one alone would not say how seeds differ

    def __str__(self) -> str:
        return f"top {self.top}, {self.seeds} seeds"
