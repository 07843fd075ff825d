"""Durations as people read them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """42 s, 12.3 min, 3.4 h"""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
