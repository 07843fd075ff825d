"""All sweeps there are: those whose journals are here, and those that only the store knows."""

from __future__ import annotations

from dataclasses import dataclass

from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.tracking.sweep_rows import SweepRow
from segsweep.orchestrator.ui.journals import JournalReader, Journals, Stamp
from segsweep.orchestrator.ui.outlines import Outline, outline_of
from segsweep.orchestrator.ui.store import Store
from segsweep.orchestrator.watching.status import is_running


@dataclass(frozen=True)
class Overview:
    outlines: tuple[Outline, ...]  # the newest first
    stored: dict[str, SweepRow]  # as MLflow has them, by uid
    problems: tuple[str, ...]  # why a store or an address tells nothing, or nothing new


class Sweeps:
    def __init__(self, journals: Journals, store: Store) -> None:
        self.journals, self.store = journals, store
        self._known: dict[str, tuple[Stamp, Outline]] = {}

    def overview(self) -> Overview:
        here = [self._outline(reader) for reader in self.journals.all()]
        rows, problem = self.store.sweeps()
        uids = {one.uid for one in here}
        elsewhere = self.store.outlines([row for row in rows if row.uid not in uids])
        newest_first = sorted([*here, *elsewhere], key=lambda one: -one.started_s)
        problems = tuple(filter(None, (self.journals.problem, problem)))
        return Overview(tuple(newest_first), {row.uid: row for row in rows}, problems)

    def in_store(self, name: str) -> tuple[SweepRow, ...]:
        """Those of that uid or, if there is none, of that name: names repeat."""
        rows, _ = self.store.sweeps()
        return tuple(row for row in rows if row.uid == name) or tuple(row for row in rows if row.name == name)

    def _outline(self, reader: JournalReader) -> Outline:
        """Parsed again only if the journal has grown, or its driver came or went without a word."""
        name = reader.folder.name
        try:
            stamp = reader.stamp
            known = self._known.get(name)
            if known is not None and known[0] == stamp and _still(known[1], reader):
                return known[1]
            with self.journals.reading(reader) as state:
                found = outline_of(reader.folder, state)
        except (InputError, OSError) as error:
            return Outline(name, problem=str(error))
        self._known[name] = stamp, found
        return found


def _still(outline: Outline, reader: JournalReader) -> bool:
    if outline.phase not in ("running", "killed"):
        return True
    return (outline.phase == "running") == is_running(reader.folder)
