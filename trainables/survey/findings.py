"""What an audit finds, kept in bounded memory: the first few of each kind, and how many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Literal

from segsweep.trainables.components import Split

Severity = Literal["fault", "warning"]


@dataclass(frozen=True)
class Finding:
    severity: Severity  # a fault stops a sweep or makes its scores wrong; a warning is to be thought about
    kind: str  # a word or two, by which many are sorted
    message: str  # names the file, the value, what is allowed, the remedy
    split: Split | None = None
    sample: str | None = None  # its id
    place: int = 0  # the number of the sample, counted over all splits


class Findings:
    """Grows while images are looked at, in whatever order that happens."""

    def __init__(self, most: int | None) -> None:
        """most: how many of a kind are kept, the first in the order of the images; None for all."""
        self.counts: Counter[tuple[Severity, str]] = Counter()
        self._most = most
        self._kept: dict[tuple[Severity, str], list[Finding]] = {}

    def add(self, finding: Finding) -> None:
        kept = self._kept.setdefault((finding.severity, finding.kind), [])
        kept.append(finding)
        self.counts[finding.severity, finding.kind] += 1
        if self._most is not None and len(kept) > 2 * self._most:
            kept[:] = self._first(kept)

    def total(self, severity: Severity) -> int:
        return sum(count for (chosen, _), count in self.counts.items() if chosen == severity)

    def of(self, severity: Severity) -> dict[str, Sequence[Finding]]:
        """Those that are kept, by kind, the rarest kind first."""
        counts = sorted(self.counts.items(), key=itemgetter(1))
        return {kind: self._first(self._kept[chosen, kind]) for (chosen, kind), _ in counts if chosen == severity}

    def _first(self, kept: Sequence[Finding]) -> Sequence[Finding]:
        return sorted(kept, key=attrgetter("place"))[: self._most]
