"""Tree-structured Parzen estimator, by Optuna: values near good trials, away from bad ones.

Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization"; multivariate as in Falkner et al. 2018 (BOHB).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field, JsonValue

from segsweep.orchestrator.searchers import Searcher
from segsweep.orchestrator.space.aims import Aim
from segsweep.trainables.components import ComponentOptions, Problem


class Options(ComponentOptions):
    startup_trials: Annotated[int, Field(ge=1)] = 10  # random trials of a study before TPE takes over
    seed: Annotated[int, Field(ge=0)] = 0


def check(options: Options, domains: Mapping[str, JsonValue]) -> Iterable[Problem]:
    return ()


def build(options: Options, aim: Aim) -> Searcher:
    import warnings

    import optuna

    from segsweep.orchestrator.searchers._optuna import OptunaSearcher

    def sampler(seed: int) -> optuna.samplers.BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(
                seed=seed,
                n_startup_trials=options.startup_trials,
                multivariate=True,
                group=True,  # otherwise parameters that not all trials have are drawn independently, without a word
                constant_liar=True,  # running trials push the next proposal away
            )

    return OptunaSearcher(sampler, aim, options.seed)
