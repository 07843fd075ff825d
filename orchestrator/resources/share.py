"""What every trial of a sweep gets of the machines that it runs on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """What one trial gets, `auto` settled; on one machine."""

    gpus: float = 0.0
    memory_gib: float = 0.0  # of the host, so that no more trials start than it holds; 0: nobody looks
