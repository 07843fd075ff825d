"""A sweep as its journal recorded it, ready to be planned again in another process."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.record.journal import SweepCreated, read_events
from segsweep.orchestrator.space.spec import SweepSpec
from segsweep.trainables.catalog import import_plugins


class Recorded(NamedTuple):
    spec: SweepSpec
    created: SweepCreated


def recorded(folder: Path) -> Recorded:
    """How the sweep in `folder` began. Raises InputError: an empty or damaged journal, a plug-in that is not there."""
    journal = folder / "journal.jsonl"
    first = next(read_events(journal), None)
    if first is None or not isinstance(first[0], SweepCreated):
        raise InputError(Mistake(str(journal), "has no beginning; remove the folder and launch the search space again"))
    try:
        spec = SweepSpec.model_validate(first[0].spec)
        import_plugins(spec.plugins)
    except ValidationError:
        raise InputError(Mistake(str(journal), "was written by another version of segsweep; use that one")) from None
    except ImportError as error:
        raise InputError(Mistake(str(journal), f"{error}. Is the plug-in installed or on PYTHONPATH?")) from None
    return Recorded(spec, first[0])
