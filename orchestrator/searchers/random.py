"""Independent draws from every domain: the baseline that any other searcher has to beat.

Bergstra and Bengio 2012, "Random Search for Hyper-Parameter Optimization".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field, JsonValue

from segsweep.orchestrator.searchers import Searcher
from segsweep.orchestrator.space.aims import Aim
from segsweep.trainables.components import ComponentOptions, Problem


class Options(ComponentOptions):
    seed: Annotated[int, Field(ge=0)] = 0


def check(options: Options, domains: Mapping[str, JsonValue]) -> Iterable[Problem]:
    return ()


def build(options: Options, aim: Aim) -> Searcher:
    import optuna

    from segsweep.orchestrator.searchers._optuna import OptunaSearcher

    return OptunaSearcher(lambda seed: optuna.samplers.RandomSampler(seed), aim, options.seed)
