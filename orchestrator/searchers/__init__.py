"""Searchers choose the values of a combination's domains. One idea a file; the file's name is the name in the YAML.

A searcher is rebuilt from the journal by `recall` and `observe` in journal order, and `propose` depends on nothing
else: with the same history it proposes the same values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

from pydantic import JsonValue

from segsweep.orchestrator.space.aims import Aim
from segsweep.trainables.catalog import Catalog
from segsweep.trainables.components import ComponentOptions, Problem

if TYPE_CHECKING:
    from segsweep.orchestrator.planning.plan import Combination
    from segsweep.orchestrator.record.trials import TrialState

Values: TypeAlias = Mapping[str, JsonValue]
"""Dotted path of each domain ("optimizer.lr") -> its value; empty where a combination has no domains."""


class Searcher(Protocol):
    def propose(self, combination: Combination, index: int) -> Values:
        """Values for the sweep's trial number `index`; never those of an earlier trial of the combination."""

    def recall(self, combination: Combination, trial: str, values: Values) -> None:
        """A trial exists with these values, proposed now or read from the journal."""

    def observe(self, trial: TrialState) -> None:
        """The trial ended for now: finished, stopped, failed or infeasible, and it will not be tried again."""


class SearcherComponent(Protocol):
    Options: ClassVar[type[ComponentOptions]]

    def check(self, options: ComponentOptions, domains: Mapping[str, JsonValue]) -> Iterable[Problem]:
        """Why the options cannot work with the domains of some combination (dotted path -> YAML notation)."""

    def build(self, options: ComponentOptions, aim: Aim) -> Searcher:
        """A searcher may ignore all of the aim, as random draws do; never a part of it that it claims to seek."""


SEARCHERS: Catalog[SearcherComponent] = Catalog("searcher", __name__)
