"""What all Optuna-backed searchers share: studies in memory, asked and told, rebuilt from the journal.

One study for each (dataset, model, optimizer): a learning rate means the same there, so trials with other losses,
schedules and seeds inform each other.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState as OptunaState
from pydantic import JsonValue

from segsweep.orchestrator.domains import Choice, Domain, resolve
from segsweep.orchestrator.searchers import Values
from segsweep.trainables.config import Objective

if TYPE_CHECKING:
    from segsweep.orchestrator.plan import Combination
    from segsweep.orchestrator.state import TrialState

optuna.logging.set_verbosity(optuna.logging.WARNING)

SamplerFactory = Callable[[int], optuna.samplers.BaseSampler]
"""seed -> sampler. A fresh one for each proposal, so that a proposal depends on the history and nothing else."""

MAX_REDRAWS = 1000  # a finite space that is nearly used up needs many draws until one is new


class OptunaSearcher:
    def __init__(self, sampler: SamplerFactory, objective: Objective, seed: int) -> None:
        self._sampler = sampler
        self._direction: Literal["maximize", "minimize"] = "maximize" if objective.mode == "max" else "minimize"
        self._seed = seed
        self._studies: dict[tuple[str, str, str], optuna.Study] = {}
        self._trials: dict[str, tuple[optuna.Study, int]] = {}  # our id -> study, Optuna's number
        self._taken: dict[int, set[str]] = {}  # combination -> the values of its trials
        self._asked: tuple[optuna.trial.Trial, Values] | None = None

    def propose(self, combination: Combination, index: int) -> Values:
        if not combination.domains:
            return {}
        study, taken = self._study(combination), self._taken.setdefault(combination.index, set())
        if not taken:
            _enqueue_first(study, combination)
        for redraw in range(MAX_REDRAWS):
            study.sampler = self._sampler(hash((self._seed, index, redraw)) & 0x7FFFFFFF)
            trial = study.ask()
            values = _suggest(trial, combination)
            if _key(values) not in taken:
                self._asked = trial, values
                return values
            study.tell(trial, state=OptunaState.FAIL)  # ignored by every sampler
        raise RuntimeError(f"no new configuration found for {combination.cell} in {MAX_REDRAWS} draws")

    def recall(self, combination: Combination, trial: str, values: Values) -> None:
        if not values:
            return
        self._taken.setdefault(combination.index, set()).add(_key(values))
        study = self._study(combination)
        if self._asked is not None and self._asked[1] == values:
            self._trials[trial] = study, self._asked[0].number
        else:
            self._trials[trial] = study, _add_running(study, combination, values)
        self._asked = None

    def observe(self, trial: TrialState) -> None:
        """Tell the study; a stopped trial counts with its best value so far (facts: not telling hurts most).

        A trial without any value is told as pruned at no step, which TPE ranks behind all others: neighbours of a
        configuration that diverges are avoided, where FAIL would be ignored.
        """
        if trial.status == "interrupted" or trial.id not in self._trials:
            return
        study, number = self._trials[trial.id]
        if study.get_trials(deepcopy=False)[number].state.is_finished():
            return  # a stopped trial that its cell went on with: Optuna keeps the first value
        if trial.best is None or trial.status in ("failed", "infeasible"):
            study.tell(number, state=OptunaState.PRUNED)
        else:
            study.tell(number, trial.best)

    def _study(self, combination: Combination) -> optuna.Study:
        key = (*combination.cell, combination.optimizer.name)
        if key not in self._studies:
            self._studies[key] = optuna.create_study(direction=self._direction)
        return self._studies[key]


def _suggest(trial: optuna.trial.Trial, combination: Combination) -> Values:
    values: dict[str, JsonValue] = {}

    def suggest(path: str, domain: Domain) -> JsonValue:
        if isinstance(domain, Choice):
            values[path] = domain.values[trial.suggest_categorical(path, range(len(domain.values)))]
        elif domain.integer:
            values[path] = trial.suggest_int(path, int(domain.low), int(domain.high), log=domain.log)
        else:
            values[path] = trial.suggest_float(path, domain.low, domain.high, log=domain.log)
        return values[path]

    resolve(combination.space, suggest)
    return values


def distribution(domain: Domain) -> BaseDistribution:
    """Optuna's form of a domain; a choice is searched by index, so that its values may be lists and mappings."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(range(len(domain.values)))
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def _enqueue_first(study: optuna.Study, combination: Combination) -> None:
    """The published values are the first point tried; what has none is drawn as usual."""
    first = {path: domain.first for path, domain in combination.domains.items() if domain.first is not None}
    if first:
        drawn = {path: _drawn(combination.domains[path], value) for path, value in first.items()}
        study.enqueue_trial(drawn)


def _drawn(domain: Domain, value: JsonValue) -> JsonValue:
    return domain.values.index(value) if isinstance(domain, Choice) else value


def _add_running(study: optuna.Study, combination: Combination, values: Values) -> int:
    """A trial that the journal knows, as if it had been asked for."""
    domains: dict[str, Domain] = {}

    def note(path: str, domain: Domain) -> JsonValue:
        domains[path] = domain
        return values[path]

    resolve(combination.space, note)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.add_trial(
            optuna.trial.create_trial(
                state=OptunaState.RUNNING,
                params={path: _drawn(domain, values[path]) for path, domain in domains.items()},
                distributions={path: distribution(domain) for path, domain in domains.items()},
            )
        )
    return len(study.get_trials(deepcopy=False)) - 1


def _key(values: Values) -> str:
    return json.dumps(values, sort_keys=True)
