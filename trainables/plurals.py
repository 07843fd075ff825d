"""Numbers of things, for people."""

from __future__ import annotations


def counted(count: float, noun: str) -> str:
    """ "1 trial", "2,000 trials", "3 classes", "0.5 GPUs"."""
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {noun}{ending}"
