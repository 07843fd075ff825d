"""What a worker is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from segsweep.trainables.config import TrialConfig


@dataclass(frozen=True, repr=False)
class Assignment:
    """One attempt at a trial, as a backend hands it to a worker."""

    config: TrialConfig
    attempt: int
    reported: int  # epochs that the journal has; a checkpoint may be one ahead
    folder: Path
    cpus: int
    gpus: float
    processes: int | None = None  # None: one for every GPU, else one

    @property
    def trial(self) -> str:
        return self.config.trial_id

    def __repr__(self) -> str:
        """ "017-1": Tune prints what it is given, and the whole would take longer than anything else that it does."""
        return f"{self.trial}-{self.attempt}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself, since nothing in it ever changes: Tune copies what it is given."""
        return self
