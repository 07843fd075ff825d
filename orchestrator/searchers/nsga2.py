"""NSGA-II, by Optuna: generations of trials, each bred from the best and least crowded ones before it.

Deb et al. 2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II". For several objectives and many trials:
on a test problem with two, 20 trials of a study did no better than random search, 100 as well as TPE. The first
generation is random, and so are domains that not all trials of a study have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field, JsonValue

from segsweep.orchestrator.searchers import Searcher
from segsweep.orchestrator.space.aims import Aim
from segsweep.trainables.components import ComponentOptions, Problem


class Options(ComponentOptions):
    population: Annotated[int, Field(ge=2)] = 10  # trials of a generation
    seed: Annotated[int, Field(ge=0)] = 0


def check(options: Options, domains: Mapping[str, JsonValue]) -> Iterable[Problem]:
    return ()


def build(options: Options, aim: Aim) -> Searcher:
    import optuna

    from segsweep.orchestrator.searchers._optuna import OptunaSearcher

    class Sampler(optuna.samplers.NSGAIISampler):
        def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            """Settle generation and parents as soon as a trial exists, which a replay does at the same point."""
            super().before_trial(study, trial)
            self.get_parent_population(study, self.get_trial_generation(study, trial))

    return OptunaSearcher(lambda seed: Sampler(population_size=options.population, seed=seed), aim, options.seed)
