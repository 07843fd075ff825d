"""What all Optuna-backed searchers share: studies in memory, asked and told, rebuilt from the journal.

One study for each dataset and optimizer: models whose optimizer has the same domains inform each other, and so do
trials with other losses, schedules and seeds. A model of another family searches other domains, so it has another
study. Measured in docs/decisions/0003-sharing.md.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState as OptunaState
from pydantic import JsonValue

from segsweep.orchestrator.searchers import Values
from segsweep.orchestrator.searchers._values import identity
from segsweep.orchestrator.space.aims import Aim
from segsweep.orchestrator.space.domains import Choice, Domain, at_fraction, resolve
from segsweep.trainables.config import Objective

if TYPE_CHECKING:
    from segsweep.orchestrator.planning.plan import Combination, CombinationKey
    from segsweep.orchestrator.record.trials import TrialState

optuna.logging.set_verbosity(optuna.logging.WARNING)

SamplerFactory = Callable[[int], optuna.samplers.BaseSampler]
"""seed -> sampler. A fresh one for each proposal, so that a proposal depends on the history and nothing else."""

DIRECTION = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}
MEMORY = "memory"  # Optuna's name of the constraint that a trial fits; no metric has it
REDRAWS = 20  # of the sampler, which may insist on taken values, before values are drawn uniformly instead


class OptunaSearcher:
    def __init__(self, sampler: SamplerFactory, aim: Aim, seed: int) -> None:
        self._sampler = sampler
        self._aim = aim
        self._seed = seed
        self._studies: dict[tuple[str, ...], optuna.Study] = {}
        self._trials: dict[str, tuple[optuna.Study, int]] = {}  # our id -> study, Optuna's number
        self._taken: dict[CombinationKey, set[str]] = {}  # the values of a combination's trials
        self._asked: tuple[optuna.trial.Trial, Values] | None = None

    def propose(self, combination: Combination, index: int) -> Values:
        if not combination.domains:
            return {}
        study, taken = self._study(combination), self._taken.setdefault(combination.key, set())
        if not taken:
            _enqueue_first(study, combination)
        rng = random.Random(f"{self._seed} {index}")
        for _ in range(REDRAWS):
            study.sampler = self._sampler(rng.getrandbits(31))
            trial = study.ask()
            values = _suggested(trial, combination)
            if identity(values) not in taken:
                self._asked = trial, values
                return values
            study.tell(trial, state=OptunaState.FAIL)  # ignored by every sampler
        while True:  # ends, since a combination never gets more trials than its space has points
            values = _uniform(rng, combination)
            if identity(values) not in taken:
                return values

    def recall(self, combination: Combination, trial: str, values: Values) -> None:
        if not values:
            return
        self._taken.setdefault(combination.key, set()).add(identity(values))
        study = self._study(combination)
        if self._asked is not None and self._asked[1] == values:
            self._trials[trial] = study, self._asked[0].number
        else:
            self._trials[trial] = study, _add_running(study, combination, values)
        self._asked = None

    def observe(self, trial: TrialState) -> None:
        """Tell the study; a stopped trial counts with its best values so far (facts: not telling hurts most).

        A trial that failed is told as pruned at no step, which TPE ranks behind all others: neighbours of a
        configuration that diverges are avoided, where FAIL would be ignored. One outside the constraints is told how
        far, and what was measured of it. So is one that memory does not hold, where its study is its model's own; where
        it is not, the others fit at the same values, and nothing is told.
        """
        if trial.id not in self._trials:
            return
        study, number = self._trials[trial.id]
        if study.get_trials(deepcopy=False)[number].state.is_finished():
            return  # a stopped trial that its cell went on with: Optuna keeps the first value
        if values := self._values(trial):
            for name, excess in (self._aim.excesses(trial) | ({MEMORY: 1.0} if trial.unfit else {})).items():
                _live(study, number).set_constraint(name, excess)
            study.tell(number, values)
        elif trial.unfit:
            study.tell(number, state=OptunaState.FAIL)
        else:
            study.tell(number, state=OptunaState.PRUNED)

    def _values(self, trial: TrialState) -> list[float]:
        """Of each objective; none if the trial failed. What an infeasible trial was not trained for counts as worst."""
        measured = [trial.measured(objective.metric) for objective in self._aim.objectives]
        if self._aim.outside(trial) or (trial.unfit and self._differs_by_model(trial.values)):
            measured = [_worst(o) if m is None else m for o, m in zip(self._aim.objectives, measured, strict=True)]
        elif trial.status in ("failed", "infeasible") or None in measured:
            return []
        return [value for value in measured if value is not None]

    def _study(self, combination: Combination) -> optuna.Study:
        key = self._key(combination)
        if key not in self._studies:
            directions = [DIRECTION[objective.mode] for objective in self._aim.objectives]
            self._studies[key] = optuna.create_study(directions=directions, sampler=self._sampler(self._seed))
        return self._studies[key]

    def _key(self, combination: Combination) -> tuple[str, ...]:
        """Dataset, optimizer and its parameters.

        And the model where costs or memory count: they differ by model, so one that is always too costly or always the
        cheapest would say of any value that it is bad or good.
        """
        searched = (parameter(*found) for found in combination.domains.items() if found[0].startswith("optimizer."))
        model = [combination.model.name] if self._differs_by_model(combination.domains) else []
        return combination.dataset.name, combination.optimizer.name, *sorted(searched), *model

    def _differs_by_model(self, searched: Collection[str]) -> bool:
        """Whether what is sought depends on the model. searched: dotted paths."""
        return bool(self._aim.more_objectives or self._aim.constraints or "image_size" in searched)


def _worst(objective: Objective) -> float:
    return -math.inf if objective.mode == "max" else math.inf


def parameter(path: str, domain: Domain) -> str:
    """Optuna's name of a domain. The domain is part of it: entries of one list may search one option differently."""
    return f"{path} {domain}"


def distribution(domain: Domain) -> BaseDistribution:
    """Optuna's form of a domain; a choice is searched by index, so that its values may be lists and mappings."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(range(len(domain.values)))
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def _suggested(trial: optuna.trial.Trial, combination: Combination) -> Values:
    def suggest(path: str, domain: Domain) -> JsonValue:
        name = parameter(path, domain)
        if isinstance(domain, Choice):
            return domain.values[trial.suggest_categorical(name, range(len(domain.values)))]
        if domain.integer:
            return trial.suggest_int(name, int(domain.low), int(domain.high), log=domain.log)
        return trial.suggest_float(name, domain.low, domain.high, log=domain.log)

    return combination.resolved(suggest)


def _uniform(rng: random.Random, combination: Combination) -> Values:
    return combination.resolved(lambda _, domain: at_fraction(domain, rng.random()))


def _enqueue_first(study: optuna.Study, combination: Combination) -> None:
    """The published values are the first point tried; what has none is drawn as usual."""
    first = {
        parameter(path, domain): _drawn(domain, domain.first)
        for path, domain in combination.domains.items()
        if domain.first is not None
    }
    if first:
        study.enqueue_trial(first)


def _drawn(domain: Domain, value: JsonValue) -> JsonValue:
    return domain.values.index(value) if isinstance(domain, Choice) else value


def _add_running(study: optuna.Study, combination: Combination, values: Values) -> int:
    """A trial that the journal knows, as if it had been asked for."""
    parameters: dict[str, JsonValue] = {}
    distributions: dict[str, BaseDistribution] = {}

    def note(path: str, domain: Domain) -> JsonValue:
        parameters[parameter(path, domain)] = _drawn(domain, values[path])
        distributions[parameter(path, domain)] = distribution(domain)
        return values[path]

    resolve(combination.space, note)
    running = optuna.trial.create_trial(state=OptunaState.RUNNING, params=parameters, distributions=distributions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.add_trial(running)
    number = len(study.get_trials(deepcopy=False)) - 1
    _live(study, number)  # the sampler may note something before a trial
    return number


def _live(study: optuna.Study, number: int) -> optuna.trial.Trial:
    return optuna.trial.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)
