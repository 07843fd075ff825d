"""A sweep as its journal recorded it, ready to be planned again in another process."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue, ValidationError

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.record.journal import JOURNAL, SweepCreated, SweepExtended, parse_event, read_events
from segsweep.orchestrator.space.spec import SweepSpec
from segsweep.trainables.catalog import import_plugins

EXTENDED = b'"event":"extended"'


class Recorded(NamedTuple):
    spec: SweepSpec  # with all extensions
    created: SweepCreated


def recorded(folder: Path) -> Recorded:
    """What the sweep in `folder` is, and how it began.

    Raises InputError for an empty or damaged journal, and a plug-in that is not there.
    """
    journal = folder / JOURNAL
    first = next(read_events(journal), None)
    if first is None or not isinstance(first[0], SweepCreated):
        raise InputError(Mistake(str(journal), "has no beginning; remove the folder and launch the search space again"))
    try:
        spec = SweepSpec.model_validate(_last_extension(journal) or first[0].spec)
        import_plugins(spec.plugins)
    except ValidationError:
        raise InputError(Mistake(str(journal), "was written by another version of segsweep; use that one")) from None
    except ImportError as error:
        raise InputError(Mistake(str(journal), f"{error}. Is the plug-in installed or on PYTHONPATH?")) from None
    return Recorded(spec, first[0])


def _last_extension(journal: Path) -> dict[str, JsonValue] | None:
    """The spec of the last SweepExtended. Most lines are no such event, and parsing them would take seconds."""
    lines = [line for line in journal.read_bytes().splitlines(keepends=True) if EXTENDED in line]
    events = [parse_event(line) for line in lines if line.endswith(b"\n")]
    return next((event.spec for event in reversed(events) if isinstance(event, SweepExtended)), None)
