"""The commands that a message tells the user to type next; they work in the folder where the user is."""

from __future__ import annotations

import os
from pathlib import Path

from segsweep.orchestrator.mirroring.places import address_of
from segsweep.orchestrator.tracking.store import resolve_uri


def resume_command(folder: Path) -> str:
    return f"segsweep resume {sweep_argument(folder)}"


def leaderboard_command(sweep: str, tracking_uri: str) -> str:
    """tracking_uri: absolute, as the journal has it."""
    elsewhere = tracking_uri != resolve_uri(None, Path.cwd())
    return f"segsweep leaderboard {sweep}" + (f" --tracking-uri {tracking_uri}" if elsewhere else "")


def report_command(folder: Path) -> str:
    return f"segsweep report {sweep_argument(folder)}"


def sweep_argument(folder: Path) -> str:
    """The sweep's name where commands look for it by default, else its folder or address."""
    if (address := address_of(folder)) is not None:
        return str(address)
    default = Path(os.environ.get("SEGSWEEP_STORAGE") or "sweeps")
    return folder.name if folder.parent.resolve() == default.resolve() else str(folder)
