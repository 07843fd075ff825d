"""From a source to a SweepSpec: every mistake at once, nothing heavy imported, no image read."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from segsweep.orchestrator.checking.entries import Entries
from segsweep.orchestrator.checking.explanations import mistakes_of, shown, validate_strictly
from segsweep.orchestrator.checking.objectives import Objectives
from segsweep.orchestrator.checking.positions import At, Positions
from segsweep.orchestrator.checking.pretrained import absent_weights
from segsweep.orchestrator.checking.roots import root_of
from segsweep.orchestrator.checking.sections import SECTIONS
from segsweep.orchestrator.checking.settings import mistake_in, sound_values
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.passwords import HOLDS_PASSWORD, without_password
from segsweep.orchestrator.planning.allocation import no_choice
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.schedulers import Grouping
from segsweep.orchestrator.space.domains import DomainError, sampled_options
from segsweep.orchestrator.space.own_losses import own_loss_problems
from segsweep.orchestrator.space.source import KeyPath, Source
from segsweep.orchestrator.space.spec import CROSSING, SETTINGS, ComponentSpec, SweepSpec
from segsweep.trainables.addresses import absence
from segsweep.trainables.catalog import DATASETS, LOSSES, LR_SCHEDULES, MODELS, import_plugins
from segsweep.trainables.components import DataError, DatasetCard, Task

STAND_IN_TRIALS = 10_000
STAND_IN = {
    "name": "sweep",
    "datasets": (),
    "models": (),
    "trials": STAND_IN_TRIALS,
    "epochs": 10_000,
    "image_size": (1024, 1024),
}
"""For keys that are missing or wrong: values that no further check objects to."""


@dataclass(frozen=True)
class Checked:
    """A spec that can be planned. `missing` says which data and weights are not there (launch refuses them)."""

    spec: SweepSpec
    missing: tuple[Mistake, ...]
    unfetched: tuple[Mistake, ...]  # weights that launch will have to fetch
    source: Source


def check(source: Source) -> Checked:
    """The spec of a source. Raises InputError with everything that is wrong, in the order of the file."""
    data = {**source.data, "name": source.data.get("name", _default_name(source))}
    entries = Entries(source)
    entries.mistakes += _import_plugins(source, data)
    plain: dict[str, Any] = dict(data)
    for name in SECTIONS.keys() & data.keys():
        specs = entries.section(name)
        plain[name] = specs if SECTIONS[name].many else next(iter(specs), None)
    mistakes = entries.mistakes
    spec = _spec(plain, source, mistakes)
    checks = Checks(spec, Positions(source, entries.positions).at)
    mistakes += checks.mistakes()
    InputError.raise_if(sorted(mistakes, key=_line))
    weights = absent_weights(spec, source)
    return Checked(spec, (*checks.missing, *weights.missing), weights.unfetched, source)


def _line(mistake: Mistake) -> tuple[int, str]:
    found = re.match(r".*?:(\d+):", mistake.place)
    return (int(found[1]) if found else 0, mistake.place)


def _default_name(source: Source) -> str:
    """The file's name without what a folder's name cannot hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source.name).stem).strip("-._")[:80] or "sweep"


def _import_plugins(source: Source, data: dict[str, JsonValue]) -> Iterator[Mistake]:
    plugins = data.get("plugins", [])
    for i, name in enumerate(plugins if isinstance(plugins, list) else ()):
        if not isinstance(name, str):
            continue  # the spec's types say so
        try:
            import_plugins([name])
        except ModuleNotFoundError as error:
            yield source.mistake(("plugins", i), f"{error}. Is the module installed or on PYTHONPATH?")
        except Exception as error:  # a plug-in is the user's own code and may fail in any way
            yield source.mistake(("plugins", i), f"'{name}' cannot be imported: {type(error).__name__}: {error}")


def _spec(plain: dict[str, Any], source: Source, mistakes: list[Mistake]) -> SweepSpec:
    """The spec; where parts are wrong, a stand-in made of the others, good enough to look for further mistakes."""
    sound = {key: value for key, value in plain.items() if key not in SECTIONS or value}
    try:
        validate_strictly(SweepSpec, sound)
        return SweepSpec.model_validate(sound)
    except ValidationError as error:
        unsound = SECTIONS.keys() & plain.keys() - sound.keys()  # their entries are reported already
        found = mistakes_of(error, source, (), SweepSpec)
        mistakes += [m for m in found if m.place.split(": ")[-1] not in unsound]
        for item in error.errors():
            sound.pop(str(item["loc"][0]), None)
        return SweepSpec.model_validate({**STAND_IN, **sound})


class Checks:
    """What only shows when components, sizes and counts are seen together."""

    def __init__(self, spec: SweepSpec, at: At) -> None:
        self.spec = spec
        self._at = at
        self._objectives = Objectives(spec, at)
        self.missing: list[Mistake] = []

    def mistakes(self) -> list[Mistake]:
        found = dict.fromkeys(
            [*self._top_level(), *self._objectives.mistakes(), *self._search(), *self._cells(), *self._budget()]
        )
        return list(found)

    def _top_level(self) -> Iterator[Mistake]:
        spec = self.spec
        if len(set(spec.seeds)) < len(spec.seeds):
            yield self._at(("seeds",), f"a seed is given twice: {list(spec.seeds)}")
        if spec.patience is not None and spec.patience > spec.epochs - 2 > 0:
            message = f"{spec.patience} never ends a trial before its {spec.epochs} epochs"
            yield self._at(("patience",), f"{message}; give at most {spec.epochs - 2}, or leave it out")
        if spec.tracking.uri and spec.tracking.uri != without_password(spec.tracking.uri):
            yield self._at(("tracking", "uri"), HOLDS_PASSWORD)
        for path, name, value in self._settings():
            if wrong := mistake_in(name, value, spec.resources.team):
                yield self._at(path, wrong)
        for path, message in own_loss_problems(spec.models, spec.losses):
            yield self._at(path, message)
        for path, entry in self.spec.placed("lr_schedules"):
            schedule: Any = LR_SCHEDULES.get(entry.type)
            for options in sampled_options(entry.options):
                yield from self._problems(path, schedule.check(schedule.Options(**options), spec.epochs))

        for i, model in enumerate(spec.models):
            for options in sampled_options({"freeze": model.options.get("freeze")}):
                yield from self._thawed_in_time(("models", i, "freeze", "epochs"), options["freeze"])

    def _thawed_in_time(self, path: KeyPath, freeze: Any) -> Iterator[Mistake]:
        epochs = freeze.get("epochs") if isinstance(freeze, dict) else None
        if epochs is not None and epochs >= self.spec.epochs:
            message = f"{epochs} epochs are all of training ({self.spec.epochs}), so nothing would be thawed"
            yield self._at(path, f"{message}; give fewer, or leave it out")

    def _settings(self) -> Iterator[tuple[KeyPath, str, Any]]:
        for name in SETTINGS:
            yield (name,), name, getattr(self.spec, name)
            for i, model in enumerate(self.spec.models):
                if (own := getattr(model, name)) is not None:
                    yield ("models", i, name), name, own
        yield ("image_size",), "image_size", self.spec.image_size
        for i, dataset in enumerate(self.spec.datasets):
            if dataset.image_size is not None:
                yield ("datasets", i, "image_size"), "image_size", dataset.image_size

    def _search(self) -> Iterator[Mistake]:
        spec = self.spec
        scheduler = SECTIONS["scheduler"].catalog.get(spec.scheduler.type)
        options = scheduler.Options(**spec.scheduler.options)
        yield from self._problems(("scheduler",), scheduler.check(options, spec.epochs, self._fewest()))
        searcher = SECTIONS["searcher"].catalog.get(spec.searcher.type)
        domains = {f"{name}.{key}": None for name in CROSSING for _, s in self.spec.placed(name) for key in s.options}
        yield from self._problems(("searcher",), searcher.check(searcher.Options(**spec.searcher.options), domains))

    def _fewest(self) -> Mapping[Grouping, int]:
        """The trials of the smallest cell and of the smallest dataset; plenty where a domain is wrong."""
        with contextlib.suppress(DomainError):  # reported elsewhere
            plan = SweepPlan.of(self.spec)
            if plan.cells:
                return {"cell": plan.fewest("cell"), "dataset": plan.fewest("dataset")}
        return {"cell": STAND_IN_TRIALS, "dataset": STAND_IN_TRIALS}

    def _cells(self) -> Iterator[Mistake]:
        described = False
        for d, dataset in enumerate(self.spec.datasets):
            found: list[Mistake] = []
            if (card := self._card(d, dataset, found)) is not None:
                described = True
                yield from self._against(dataset, card)
            yield from found
        if not described:
            yield from self._models_alone()

    def _budget(self) -> Iterator[Mistake]:
        with contextlib.suppress(DomainError):  # reported elsewhere
            plan = SweepPlan.of(self.spec)
            for message in plan.too_small():
                yield self._at(("min_finished",), message)
            for message in no_choice(plan):
                yield self._at(("allocation",), message)
            for limit, message in plan.too_tight():
                yield self._at(("budget", limit), message)

    def _card(self, index: int, dataset: ComponentSpec, mistakes: list[Mistake]) -> DatasetCard | None:
        try:
            root = root_of(dataset)
        except DataError as error:
            mistakes.append(self._at(("datasets", index, "root"), str(error)))
            return None
        if missing := absence(root):
            self.missing.append(self._at(("datasets", index, "root"), missing))
        component = DATASETS.get(dataset.type)
        try:
            return component.describe(component.Options(**dataset.options))
        except DataError as error:
            if not missing:
                mistakes.append(self._at(("datasets", index), str(error)))
            return None

    def _against(self, dataset: ComponentSpec, card: DatasetCard) -> Iterator[Mistake]:
        yield from self._objectives.of_classes(dataset, card)
        for height, width in sound_values("image_size", self.spec.image_size_of(dataset)):
            yield from self._window(dataset, (height, width))
            yield from self._at_size(Task(len(card.classes), (height, width), batch_size=1))

    def _models_alone(self) -> Iterator[Mistake]:
        """What is wrong with models whatever the classes: of 2, the fewest, none asks more than they have."""
        sizes: list[Any] = [self.spec.image_size_of(dataset) for dataset in self.spec.datasets] or [
            self.spec.image_size
        ]
        for size in sizes:
            for height, width in sound_values("image_size", size):
                yield from self._models_at(Task(2, (height, width), batch_size=1))

    def _at_size(self, task: Task) -> Iterator[Mistake]:
        for path, entry in self.spec.placed("losses"):
            yield from self._fits(path, LOSSES.get(entry.type), entry, task)
        yield from self._models_at(task)

    def _models_at(self, task: Task) -> Iterator[Mistake]:
        for m, model in enumerate(self.spec.models):
            for batch_size in sound_values("batch_size", self.spec.setting("batch_size", model)):
                batch = replace(task, batch_size=batch_size)
                yield from self._fits(("models", m), MODELS.get(model.type), model, batch)

    def _fits(self, path: KeyPath, component: Any, entry: ComponentSpec, task: Task) -> Iterator[Mistake]:
        for options in sampled_options(entry.options):
            yield from self._problems(path, component.check(component.Options(**options), task))

    def _window(self, dataset: ComponentSpec, size: tuple[int, int]) -> Iterator[Mistake]:
        window = self.spec.evaluation.window
        if window and (window[0] > size[0] or window[1] > size[1]):
            allowed = f"at most [{size[0]}, {size[1]}], the image_size of {dataset.name}"
            yield self._at(("evaluation", "window"), f"must be {allowed}, not {shown(list(window))}")

    def _problems(self, path: KeyPath, problems: Any) -> Iterator[Mistake]:
        for problem in problems:
            where = (*path, *problem.option.split(".")) if problem.option else path
            yield self._at(where, problem.message)
