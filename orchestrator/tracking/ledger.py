"""What MLflow has of a sweep, kept beside the journal: how far it was sent, and which run is whose."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from segsweep.orchestrator.record.durable import replace_text


@dataclass
class Ledger:
    """Only ever a short cut: without the file everything in it is found again by the runs' tags."""

    uri: str = ""
    sweep_uid: str = ""
    offset: int = 0  # bytes of the journal that MLflow has
    parent: str = ""  # run id of the sweep
    runs: dict[str, str] = field(default_factory=dict)  # trial id -> run id
    owed: list[tuple[str, str]] = field(default_factory=list)  # trial id ("" = the sweep) and file to be stored yet

    @classmethod
    def load(cls, path: Path) -> Ledger:
        """The ledger in `path`; an empty one if there is none or it was written by another version."""
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
            found.owed = [(trial, file) for trial, file in found.owed]  # JSON has lists only
            return found
        except (OSError, ValueError, TypeError):
            return cls()

    def save(self, path: Path) -> None:
        """Replace the file in one step; a crash leaves the old one."""
        replace_text(path, json.dumps(asdict(self)))
