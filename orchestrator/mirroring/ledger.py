"""What of a sweep's folder is at the address already, kept beside the journal; without it everything is sent again."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from segsweep.orchestrator.record.durable import replace_text

LEDGER = "mirror.json"


@dataclass
class Ledger:
    journal: int = 0  # bytes
    files: dict[str, str] = field(default_factory=dict)  # "trials/001/best.pt" -> its stamp when it was sent
    away: bool = False  # nodes of a cluster write the files of trials, to the address: what is here of them are copies

    @classmethod
    def load(cls, folder: Path) -> Ledger:
        """Of the sweep in `folder`; an empty one if there is none."""
        try:
            return cls(**json.loads((folder / LEDGER).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls()

    def save(self, folder: Path) -> None:
        """In one step; a crash leaves the old one."""
        replace_text(folder / LEDGER, json.dumps(asdict(self)))


def stamp(status: os.stat_result) -> str:
    """Another one once the contents are."""
    return f"{status.st_size} {status.st_mtime_ns}"
