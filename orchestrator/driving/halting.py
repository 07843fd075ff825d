"""How a running sweep is asked to end early: by a signal, from another terminal or machine, or by its budget.

A request is a file in the sweep's folder, so it works wherever the folder can be written. The driver looks at it
every second; nothing that a request does is lost, and `segsweep resume` goes on.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from segsweep.orchestrator.record.durable import replace_text

LOOKS_EVERY_S = 1.0
REQUEST = "request.json"

Fate: TypeAlias = Literal["stop", "save", "finish"]
"""Of running trials: end at once, after the epoch that they train, or by themselves."""

Verb: TypeAlias = Literal["pause", "stop", "cancel"]
FATES: dict[Verb, Fate] = {"pause": "save", "stop": "finish", "cancel": "stop"}


@dataclass(frozen=True)
class Halt:
    """Nothing new starts any more."""

    reason: str  # "" for Ctrl-C: whoever pressed it knows
    running: Fate = "stop"
    over_budget: bool = False


def request(folder: Path, verb: Verb, who: str) -> None:
    """Ask whoever runs the sweep in `folder`. A later request replaces an earlier one."""
    replace_text(folder / REQUEST, json.dumps({"verb": verb, "who": who}))


def requested(folder: Path) -> Halt | None:
    """What was asked of the sweep in `folder`, if anything was."""
    try:
        found = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
        return Halt(f"{found['verb']} was asked for by {found['who']}", FATES[found["verb"]])
    except (OSError, ValueError, KeyError, TypeError):  # storage may be away for a while
        return None


@contextmanager
def heeding(folder: Path, halt: Callable[[Halt], None], over_budget: Callable[[], str]) -> Iterator[None]:
    """Pass requests on while the block runs, and the end of the budget where no epoch ends in time to see it."""
    (folder / REQUEST).unlink(missing_ok=True)  # an earlier driver's
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOKS_EVERY_S):
            if (asked := requested(folder)) is not None:
                halt(asked)
            if reason := over_budget():
                halt(Halt(reason, over_budget=True))

    watcher = threading.Thread(target=look, name="segsweep-requests", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        with suppress(OSError):  # the next driver removes it too
            (folder / REQUEST).unlink(missing_ok=True)
