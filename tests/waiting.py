"""Waiting for what another process or thread does."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 120, *, every_s: float = 0.1) -> None:
    """Ask every so often; AssertionError with what did not happen in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(every_s)


def answers(url: str) -> bool:
    """Whether a server is there, and content."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except OSError:
        return False
    return True
