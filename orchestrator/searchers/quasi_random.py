"""Quasi-random search: a scrambled Halton sequence, which fills the space more evenly than independent draws.

Bousquet et al. 2017, "Critical Hyper-Parameters: No Random, No Cry" (arXiv 1706.03200); the scrambling is that of Owen
2017, "A randomized Halton algorithm in R" (arXiv 1706.02808). Combinations with the same domains get the same points.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, JsonValue

from segsweep.orchestrator.searchers import Searcher, Values
from segsweep.orchestrator.space.aims import Aim
from segsweep.trainables.components import ComponentOptions, Problem

if TYPE_CHECKING:
    from segsweep.orchestrator.planning.plan import Combination
    from segsweep.orchestrator.space.domains import Domain

PRECISION = 2**-40  # of a coordinate: digits that count for less are left out


class Options(ComponentOptions):
    seed: Annotated[int, Field(ge=0)] = 0


def check(options: Options, domains: Mapping[str, JsonValue]) -> Iterable[Problem]:
    return ()


def build(options: Options, aim: Aim) -> Searcher:
    from segsweep.orchestrator.searchers._values import FixedOrder

    return FixedOrder(lambda combination, start: points(combination, start, options.seed))


def points(combination: Combination, start: int, seed: int) -> Iterator[Values]:
    """Point 0 is the published one, where domains have a published value."""
    from segsweep.orchestrator.space.domains import at_fraction, published

    bases = dict(zip(_paths(combination.space), primes(), strict=False))
    for index in itertools.count(start):

        def suggest(path: str, domain: Domain, index: int = index) -> JsonValue:
            if index == 0 and (first := published(domain)) is not None:
                return first
            return at_fraction(domain, coordinate(index, bases[path], f"{seed} {path}"))

        yield combination.resolved(suggest)


def coordinate(index: int, base: int, seed: str) -> float:
    """Where point `index` lies in [0, 1): the digits of the index behind the point, each in an order of its own."""
    rng = random.Random(seed)
    result, weight = 0.0, 1.0
    while weight > PRECISION:
        weight /= base
        index, digit = divmod(index, base)
        result += weight * rng.sample(range(base), base)[digit]
    return result


def primes() -> Iterator[int]:
    return (n for n in itertools.count(2) if all(n % divisor for divisor in range(2, int(n**0.5) + 1)))


def _paths(tree: JsonValue, path: tuple[str | int, ...] = ()) -> Iterator[str]:
    """Every domain, also those inside choices: each has its own coordinate, whether it exists at a point or not."""
    from segsweep.orchestrator.space.domains import Choice, domains_in
    from segsweep.orchestrator.space.source import dotted

    for where, domain in domains_in(tree, path):
        yield dotted(where)
        if isinstance(domain, Choice):
            for i, value in enumerate(domain.values):
                yield from _paths(value, (*where, i))
