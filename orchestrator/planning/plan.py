"""SweepPlan: the combinations that a spec spans, the cells they fill, and how many trials that makes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from pydantic import JsonValue

from segsweep.orchestrator.record.trials import Cell
from segsweep.orchestrator.schedulers import Group, Grouping, group_of
from segsweep.orchestrator.space.domains import (
    Domain,
    Suggest,
    at_fraction,
    domains_in,
    published,
    resolve,
    sampled_options,
)
from segsweep.orchestrator.space.source import dotted
from segsweep.orchestrator.space.spec import OF_MODELS, SETTINGS, ComponentSpec, SweepSpec
from segsweep.trainables.catalog import MODELS, OPTIMIZERS
from segsweep.trainables.config import Entry, TrialConfig
from segsweep.trainables.plurals import counted

CombinationKey: TypeAlias = tuple[str, ...]
"""Display names in the order of the crossing lists, and the seed."""


@dataclass(frozen=True)
class Combination:
    """One point of the crossing lists: dataset x model x loss x optimizer x LR schedule x augmentation x seed."""

    index: int
    spec: SweepSpec
    dataset: ComponentSpec
    model: ComponentSpec
    loss: ComponentSpec
    optimizer: ComponentSpec
    lr_schedule: ComponentSpec
    augmentation: ComponentSpec
    seed: int

    @property
    def cell(self) -> Cell:
        return Cell(self.dataset.name, self.model.name)

    @property
    def key(self) -> CombinationKey:
        """What a combination is known by, also in a plan that has grown since."""
        parts = (self.dataset, self.model, self.loss, self.optimizer, self.lr_schedule, self.augmentation)
        return (*(part.name for part in parts), str(self.seed))

    @cached_property
    def space(self) -> dict[str, JsonValue]:
        """Options by component, domains in the YAML's notation; an optimizer's open options get default domains."""
        return {
            "model": self.model.options,
            "loss": self.loss.options,
            "optimizer": {**self._searched_by_default(), **self.optimizer.options},
            "lr_schedule": self.lr_schedule.options,
            "augmentation": self.augmentation.options,
            **{name: self.spec.setting(name, self.model) for name in SETTINGS},
            "image_size": self.spec.image_size_of(self.dataset),
        }

    def _searched_by_default(self) -> Mapping[str, Any]:
        """lr and weight decay: good values differ by over 100x between SGD on a CNN and AdamW on a transformer."""
        architecture = MODELS.get(self.model.type)
        options: Any = architecture.Options(**next(sampled_options(self.model.options)))
        return OPTIMIZERS.get(self.optimizer.type).DOMAINS[architecture.family(options)]

    @cached_property
    def domains(self) -> dict[str, Domain]:
        """What the searcher chooses, by dotted path ("optimizer.lr"); domains inside a choice are not listed."""
        return {dotted(path): domain for path, domain in domains_in(self.space)}

    @property
    def size(self) -> float:
        """How many different configurations there are."""
        return math.prod(domain.size for domain in self.domains.values())

    @property
    def trials(self) -> int:
        """As many as asked for, but never one configuration twice."""
        return int(min(self.spec.trials, self.size))

    def resolved(self, suggest: Suggest) -> dict[str, JsonValue]:
        """The value of every domain that exists, by path."""
        values: dict[str, JsonValue] = {}

        def note(path: str, domain: Domain) -> JsonValue:
            values[path] = suggest(path, domain)
            return values[path]

        resolve(self.space, note)
        return values

    def typical(self, fixed: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """What is `fixed`, and of every other domain that exists its published value, else its middle; by path."""

        def suggest(path: str, domain: Domain) -> JsonValue:
            if path in fixed:
                return fixed[path]
            first = published(domain)
            return at_fraction(domain, 0.5) if first is None else first

        return self.resolved(suggest)

    def config(self, trial_id: str, values: Mapping[str, JsonValue]) -> TrialConfig:
        """The configuration that `values` (dotted path -> value) make of this combination."""
        chosen: Any = resolve(self.space, lambda path, _: values[path])
        return TrialConfig(
            trial_id=trial_id,
            dataset=_entry(self.dataset, self.dataset.options),
            model=_entry(self.model, chosen["model"]),
            loss=_entry(self.loss, chosen["loss"]),
            optimizer=_entry(self.optimizer, chosen["optimizer"]),
            lr_schedule=_entry(self.lr_schedule, chosen["lr_schedule"]),
            augmentation=_entry(self.augmentation, chosen["augmentation"]),
            epochs=self.spec.epochs,
            **{name: chosen[name] for name in SETTINGS},
            image_size=chosen["image_size"],
            seed=self.seed,
            objective=self.spec.objective,
            evaluation=self.spec.evaluation,
            patience=self.spec.patience,
            steps_per_epoch=self.spec.steps_per_epoch,
            plugins=self.spec.plugins,
        )


def key_of(config: TrialConfig) -> CombinationKey:
    """The key of the combination that a configuration was made from."""
    parts = (config.dataset, config.model, config.loss, config.optimizer, config.lr_schedule, config.augmentation)
    return (*(part.name for part in parts), str(config.seed))


def _entry(spec: ComponentSpec, options: dict[str, JsonValue]) -> Entry:
    return Entry(type=spec.type, name=spec.name, options=options)


@dataclass(frozen=True)
class SweepPlan:
    spec: SweepSpec
    combinations: tuple[Combination, ...]

    @classmethod
    def of(cls, spec: SweepSpec) -> SweepPlan:
        crossed: Iterator[tuple[Any, ...]] = (
            (dataset, model, *point)
            for dataset, model in itertools.product(spec.datasets, spec.models)
            for point in itertools.product(*(spec.entries(name, model) for name in OF_MODELS), spec.seeds)
        )
        return cls(spec, tuple(Combination(i, spec, *point) for i, point in enumerate(crossed)))

    @cached_property
    def order(self) -> tuple[Combination, ...]:
        """The combination of each trial, round by round, so that all cells fill at the same pace."""
        rounds = max(c.trials for c in self.combinations)
        return tuple(c for r in range(rounds) for c in self.combinations if r < c.trials)

    @cached_property
    def by_key(self) -> dict[CombinationKey, Combination]:
        return {combination.key: combination for combination in self.combinations}

    @cached_property
    def cells(self) -> dict[Cell, list[Combination]]:
        cells: dict[Cell, list[Combination]] = {}
        for combination in self.combinations:
            cells.setdefault(combination.cell, []).append(combination)
        return cells

    def trials_of(self, cell: Cell) -> int:
        return self._trials_by_cell[cell]

    @cached_property
    def _trials_by_cell(self) -> dict[Cell, int]:
        return {cell: sum(combination.trials for combination in found) for cell, found in self.cells.items()}

    def groups(self, grouping: Grouping) -> dict[Group, list[Cell]]:
        """The cells whose trials are compared with one another."""
        groups: dict[Group, list[Cell]] = {}
        for cell in self.cells:
            groups.setdefault(group_of(cell, grouping), []).append(cell)
        return groups

    def fewest(self, grouping: Grouping) -> int:
        """The trials of the smallest group. There is at least one."""
        return min(sum(map(self.trials_of, cells)) for cells in self.groups(grouping).values())

    @property
    def trials(self) -> int:
        return len(self.order)

    @property
    def confirmations(self) -> int:
        """Trials that follow the search, at most."""
        return sum(map(self.confirmations_of, self.cells))

    def confirmations_of(self, cell: Cell) -> int:
        confirm = self.spec.confirm
        return min(confirm.top, self.trials_of(cell)) * confirm.seeds if confirm else 0

    @property
    def epochs_at_most(self) -> int:
        return (self.trials + self.confirmations) * self.spec.epochs

    def too_tight(self) -> Iterator[tuple[str, str]]:
        """Limits of the budget that cannot give each cell its finished trials, and why."""
        budget, finished = self.spec.budget, len(self.cells) * self.spec.min_finished
        least = {"trials": finished, "epochs": finished * self.spec.epochs}
        for limit, needed in least.items():
            given = budget and getattr(budget, limit)
            if given and given < needed:
                cells = counted(len(self.cells), "cell")
                yield (
                    limit,
                    f"must be at least {needed}, not {given}: {cells} x min_finished {self.spec.min_finished}"
                    + (f" x {self.spec.epochs} epochs" if limit == "epochs" else ""),
                )

    def too_small(self) -> Iterator[str]:
        """Why the plan cannot fill its cells as promised: one message, of the cell with the fewest trials."""
        if not self.cells:
            return
        cell = min(self.cells, key=self.trials_of)
        if (trials := self.trials_of(cell)) < self.spec.min_finished:
            gets = counted(trials, "trial")
            yield (
                f"must be at most {trials}, not {self.spec.min_finished}: {cell.model} on {cell.dataset} gets {gets}; "
                "raise trials or lower min_finished"
            )
