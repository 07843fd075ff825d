"""Several stores as one: the sweeps of all of them on one board, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from segsweep.orchestrator.board.confirmed import Confirmations
from segsweep.orchestrator.board.index import Index
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.tracking.reader import TrialRow
from segsweep.orchestrator.tracking.store import resolve_uri
from segsweep.orchestrator.tracking.sweep_rows import SweepRow
from segsweep.trainables.config import Objective

if TYPE_CHECKING:
    from segsweep.trainables.scoring.confusions import Confusions


class Several:
    """What Index tells of one store, of all that answer.

    A sweep that is in two of them is taken from the first. Sweeps of one name in two stores are called NAME in STORE.
    """

    def __init__(self, indexes: Sequence[Index]) -> None:
        self._indexes = indexes
        self.uri = ", ".join(index.uri for index in indexes)
        self._of: dict[str, Index] = {}  # by the sweep's uid
        self._found: list[SweepRow] = []
        self._of_run: dict[str, Index] = {}
        for index in indexes:
            fresh = [sweep for sweep in index.sweeps() if sweep.uid not in self._of]
            self._of |= {sweep.uid: index for sweep in fresh}
            self._found += fresh
        stores = Counter(name for name, _ in {(sweep.name, sweep.store) for sweep in self._found})
        self._names = {sweep.uid: f"{sweep.name} in {sweep.store}" for sweep in self._found if stores[sweep.name] > 1}

    @property
    def read_s(self) -> float:
        """When the store was asked that was asked the longest ago."""
        return min(index.read_s for index in self._indexes)

    def close(self) -> None:
        """See Index.close."""
        for index in self._indexes:
            index.close()

    def warnings(self) -> Iterator[str]:
        for index in self._indexes:
            yield from (f"{index.uri}: {warning}" for warning in index.warnings())

    def sweeps(self) -> list[SweepRow]:
        return sorted(self._found, key=lambda sweep: (-sweep.started_s, sweep.run_id))

    def trials(
        self,
        *,
        metric: str = Objective().metric,
        sweep_uid: str | None = None,
        dataset: str | None = None,
        kind: str = "trial",
    ) -> list[TrialRow]:
        found: list[TrialRow] = []
        for index in self._indexes:
            rows = index.trials(metric=metric, sweep_uid=sweep_uid, dataset=dataset, kind=kind)
            rows = [row for row in rows if self._of.get(row.sweep_uid) is index]
            self._of_run |= dict.fromkeys((row.run_id for row in rows), index)
            found += [replace(row, sweep=self._names.get(row.sweep_uid, row.sweep)) for row in rows]
        return found

    def over_epochs(self, run_id: str, metric: str, best_epoch: int) -> float | None:
        return self._of_run[run_id].over_epochs(run_id, metric, best_epoch)

    def history(self, run_id: str, metric: str) -> Mapping[int, float | None]:
        return self._of_run[run_id].history(run_id, metric)

    def confusions(self, row: TrialRow, split: str) -> Confusions | None:
        return self._of_run[row.run_id].confusions(row, split)

    def confirmations(self, trials: Sequence[TrialRow], repeats: Sequence[TrialRow], metric: str) -> Confirmations:
        """Kept by the first store's index."""
        return self._indexes[0].confirmations(trials, repeats, metric, self.confusions)


Source: TypeAlias = Index | Several


def resolved(uris: Sequence[str]) -> list[str]:
    """Each store that the user gave once; of none the usual one, see resolve_uri."""
    given: Sequence[str | None] = uris or [None]
    return list(dict.fromkeys(resolve_uri(uri, Path.cwd()) for uri in given))


def opened(uris: Sequence[str]) -> tuple[Source, list[Mistake]]:
    """The stores as one, and what keeps others of them from being read.

    uris: as the user gave them; none: the usual one, see resolve_uri. Raises InputError if no store can be read.
    """
    indexes: list[Index] = []
    mistakes: list[Mistake] = []
    for uri in resolved(uris):
        try:
            indexes.append(Index(uri))
        except InputError as error:
            mistakes += error.mistakes
    if not indexes:
        raise InputError(*mistakes)
    return (indexes[0] if len(indexes) == 1 else Several(indexes)), mistakes
