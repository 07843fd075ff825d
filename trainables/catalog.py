"""The file system is the registry: `trainables/losses/dice.py` is the loss that a YAML calls `dice`.

Users add components without touching this package: through an entry point (group `segsweep.losses`, name = YAML name,
value = a component module), or by `register` in a module that the YAML names under `plugins:`.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from functools import cached_property
from importlib.metadata import entry_points
from types import ModuleType
from typing import Generic, TypeVar, cast

from segsweep.trainables.components import (
    AugmentationComponent,
    DatasetComponent,
    LossComponent,
    LRScheduleComponent,
    ModelComponent,
    OptimizerComponent,
)

C = TypeVar("C")


class UnknownComponentError(ValueError):
    """A name that no file, plug-in or entry point stands for; the message says which come close."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ " Did you mean 'unet'?" or "" where nothing is near; the part before a slash may stand for all of a name."""
    words = sorted(known, reverse=True)
    lowered = {word.lower().partition("/")[0]: word for word in words} | {word.lower(): word for word in words}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return f" Did you mean '{lowered[near[0]]}'?" if near else ""


class Catalog(Generic[C]):
    """The components of one kind, by name."""

    def __init__(self, noun: str, package: str) -> None:
        """noun: 'loss', for messages; package: 'segsweep.trainables.losses', where the files are."""
        self.noun = noun
        self.package = package
        self._registered: dict[str, ModuleType] = {}

    @cached_property
    def _files(self) -> frozenset[str]:
        path = importlib.import_module(self.package).__path__
        return frozenset(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_"))

    @cached_property
    def _entry_points(self) -> dict[str, str]:
        group = "segsweep." + self.package.rpartition(".")[2]
        return {point.name: point.value for point in entry_points(group=group)}

    def names(self) -> list[str]:
        return sorted({*self._files, *self._registered, *self._entry_points})

    def register(self, name: str, module: ModuleType) -> None:
        """Offer `module` as component `name`; called by plug-ins while they are imported."""
        self._registered[name] = module

    def get(self, name: str) -> C:
        """The component's module. Raises UnknownComponentError."""
        if name in self._registered:
            return cast(C, self._registered[name])
        if name in self._files:
            return cast(C, importlib.import_module(f"{self.package}.{name}"))
        if name in self._entry_points:  # looked at last: reading every package's metadata takes a while
            return cast(C, importlib.import_module(self._entry_points[name]))
        raise UnknownComponentError(
            f"no {self.noun} '{name}'.{did_you_mean(name, self.names())} Known: {', '.join(self.names())}"
        )


MODELS: Catalog[ModelComponent] = Catalog("architecture", "segsweep.trainables.models")
LOSSES: Catalog[LossComponent] = Catalog("loss", "segsweep.trainables.losses")
DATASETS: Catalog[DatasetComponent] = Catalog("dataset", "segsweep.trainables.datasets")
OPTIMIZERS: Catalog[OptimizerComponent] = Catalog("optimizer", "segsweep.trainables.optimizers")
LR_SCHEDULES: Catalog[LRScheduleComponent] = Catalog("LR schedule", "segsweep.trainables.lr_schedules")
AUGMENTATIONS: Catalog[AugmentationComponent] = Catalog("augmentation", "segsweep.trainables.augmentations")


def import_plugins(modules: Iterable[str]) -> None:
    """Import the modules that a YAML names under `plugins:`. Raises ImportError."""
    for module in modules:
        importlib.import_module(module)
