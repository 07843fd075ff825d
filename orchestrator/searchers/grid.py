"""Grid search: all choices, and ranges at `points` values each, evenly spaced (by logarithm for log ranges).

When every point of the grid has a trial and more are wanted, the grid is made twice as fine. For just the grid, ask
for as many trials as it has points.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, JsonValue

from segsweep.orchestrator.searchers import Searcher, Values
from segsweep.orchestrator.space.aims import Aim
from segsweep.trainables.components import ComponentOptions, Problem

if TYPE_CHECKING:
    from segsweep.orchestrator.planning.plan import Combination
    from segsweep.orchestrator.space.domains import Domain, Range


class Options(ComponentOptions):
    points: Annotated[int, Field(ge=2)] = 5  # values of a range, both ends included


def check(options: Options, domains: Mapping[str, JsonValue]) -> Iterable[Problem]:
    return ()


def build(options: Options, aim: Aim) -> Searcher:
    from segsweep.orchestrator.searchers._values import FixedOrder

    return FixedOrder(lambda combination, start: points(combination, start, options.points))


def points(combination: Combination, start: int, per_range: int) -> Iterator[Values]:
    """The published point, then the grid in leaps, so that few trials are spread over all of it; then finer grids."""
    if start == 0:
        yield _point(combination, 0, per_range, publish=True)
    skipped = max(0, start - 1)
    while True:
        size = tree_size(combination.space, per_range)
        leap = _leap(size)
        for step in range(skipped, size):
            yield _point(combination, step * leap % size, per_range)
        skipped = max(0, skipped - size)
        per_range = 2 * per_range - 1


def axis(domain: Range, per_range: int) -> list[int] | list[float]:
    """The values of a range. The one that is nearest to the published value gives way to it."""
    from segsweep.orchestrator.space.domains import published

    low, high = domain.low, domain.high
    fractions = [i / (per_range - 1) for i in range(per_range)]
    values = [low * (high / low) ** part if domain.log else low + (high - low) * part for part in fractions]
    values[-1] = high  # which low * (high / low) may miss
    first = published(domain)
    if isinstance(first, int | float):
        at = math.log if domain.log else float
        nearest = min(range(per_range), key=lambda i: abs(at(values[i]) - at(first)))
        values[nearest] = first
    return sorted({round(value) for value in values}) if domain.integer else [float(value) for value in values]


def domain_size(domain: Domain, per_range: int) -> int:
    from segsweep.orchestrator.space.domains import Choice

    if isinstance(domain, Choice):
        return sum(tree_size(value, per_range) for value in domain.values)
    return len(axis(domain, per_range))


def tree_size(tree: JsonValue, per_range: int) -> int:
    """How many points the grid over a tree of options has."""
    from segsweep.orchestrator.space.domains import domains_in

    return math.prod(domain_size(domain, per_range) for _, domain in domains_in(tree))


def _leap(size: int) -> int:
    """A step, near the golden section, that visits all of `size` points before it comes back."""
    return next(leap for leap in itertools.count(max(1, size * 618 // 1000)) if math.gcd(leap, size) == 1)


def _point(combination: Combination, rank: int, per_range: int, *, publish: bool = False) -> Values:
    """Point `rank` of the grid, the first domain being the digit that changes fastest."""
    from segsweep.orchestrator.space.domains import Choice, published

    def suggest(path: str, domain: Domain) -> JsonValue:
        nonlocal rank
        rank, digit = divmod(rank, domain_size(domain, per_range))
        first = published(domain) if publish else None
        if not isinstance(domain, Choice):
            return axis(domain, per_range)[digit] if first is None else first
        for value in domain.values:
            size = tree_size(value, per_range)
            if value == first or (first is None and digit < size):
                rank = rank * size + digit % size  # what is left of the digit chooses among the value's own domains
                return value
            digit -= size
        raise AssertionError(f"{path}: no such digit")

    return combination.resolved(suggest)
