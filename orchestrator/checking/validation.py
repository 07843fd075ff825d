"""From a source to a SweepSpec: every mistake at once, nothing heavy imported, no image read."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from segsweep.orchestrator.checking.entries import Entries
from segsweep.orchestrator.checking.explanations import mistakes_of, shown, validate_strictly
from segsweep.orchestrator.checking.pretrained import absent_weights
from segsweep.orchestrator.checking.sections import SECTIONS
from segsweep.orchestrator.checking.settings import mistake_in, sound_values
from segsweep.orchestrator.data.roots import root_of
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.passwords import HOLDS_PASSWORD, without_password
from segsweep.orchestrator.planning.allocation import no_choice
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.schedulers import Grouping
from segsweep.orchestrator.space.domains import DomainError, raw_domains, sampled_options
from segsweep.orchestrator.space.own_losses import own_loss_problems
from segsweep.orchestrator.space.source import KeyPath, Source
from segsweep.orchestrator.space.spec import CROSSING, SETTINGS, ComponentSpec, SweepSpec
from segsweep.trainables.addresses import absence
from segsweep.trainables.catalog import DATASETS, LOSSES, LR_SCHEDULES, MODELS, did_you_mean, import_plugins
from segsweep.trainables.components import DataError, DatasetCard, Task, rises
from segsweep.trainables.config import Objective
from segsweep.trainables.metric_names import COSTS, OBJECTIVES, class_iou, is_class_iou, metric_named

LOSS_METRICS = ("val_loss", "train_loss")
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
    checks = Checks(source, spec, entries.positions)
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

    def __init__(self, source: Source, spec: SweepSpec, positions: Mapping[KeyPath, list[int]]) -> None:
        """positions: where each entry of the spec's lists stands in the source's."""
        self.source = source
        self.spec = spec
        self._positions = positions
        self.missing: list[Mistake] = []

    def mistakes(self) -> list[Mistake]:
        found = dict.fromkeys([*self._top_level(), *self._aim(), *self._search(), *self._cells(), *self._budget()])
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

    def _aim(self) -> Iterator[Mistake]:
        objective, *more = self.spec.aim.objectives
        yield from self._sought(("objective",), objective, OBJECTIVES)
        for i, other in enumerate(more):
            yield from self._sought(("more_objectives", i), other, (*OBJECTIVES, *COSTS))
            if other.metric in [earlier.metric for earlier in self.spec.aim.objectives[: i + 1]]:
                yield self._at(("more_objectives", i), f"{other.metric} is an objective already; leave it out here")
        for metric, bounds in self.spec.constraints.items():
            if metric not in COSTS:
                yield self._at(("constraints", metric), _not_bounded(metric))
            elif bounds.min is not None and not metric_named(metric).per_trial:
                why = "is only known epoch by epoch, and too small a value of the first ones says nothing"
                yield self._at(("constraints", metric, "min"), f"{metric} {why}; give max, or leave the constraint out")

    def _sought(self, path: KeyPath, objective: Objective, known: Sequence[str]) -> Iterator[Mistake]:
        metric, mode, better = objective.metric, objective.mode, metric_named(objective.metric).better
        if metric in COSTS and metric not in known:
            why = f"{metric} cannot decide which trial is best; put it into more_objectives or constraints"
            yield self._at((*path, "metric"), f"{why}. Known: {', '.join(known)}")
        elif metric not in known and not is_class_iou(metric):
            hint = did_you_mean(metric, known)
            yield self._at((*path, "metric"), f"no metric '{metric}'.{hint} Known: {', '.join(known)}")
        elif metric.startswith("val_boundary") and not self.spec.evaluation.boundary:
            yield self._at((*path, "metric"), f"{metric} is measured with `evaluation: {{boundary: true}}` only")
        elif better != mode:
            yield self._at((*path, "mode"), f"{metric} is better when {better}, not {mode}")
        elif metric in LOSS_METRICS and any(isinstance(self.spec.image_size_of(d), dict) for d in self.spec.datasets):
            why = f"{metric} is measured at the size that networks are fed, so it compares nothing across image sizes"
            yield self._at(
                (*path, "metric"), f"{why}; take a score such as val_miou, or one image_size for each dataset"
            )
        elif metric in LOSS_METRICS and (rising := sorted(self._rising())):
            why = f"{metric} grows with the epochs, since {', '.join(rising)} does, so the first epoch would be best"
            yield self._at((*path, "metric"), f"{why}; take a score such as val_miou")
        elif metric in LOSS_METRICS and len(losses := self._losses()) > 1:
            why = f"{metric} compares nothing across different losses ({', '.join(losses)})"
            yield self._at((*path, "metric"), f"{why}; take a score such as val_miou, or one loss for all models")

    def _rising(self) -> set[str]:
        """The losses that grow with the epochs."""
        return {
            entry.name
            for _, entry in self.spec.placed("losses")
            for options in sampled_options(entry.options)
            if rises(component := LOSSES.get(entry.type), component.Options.model_validate(options))
        }

    def _losses(self) -> list[str]:
        """The losses that trials are trained with, one that is searched in as well counting twice."""
        entries = [entry for model in self.spec.models for entry in self.spec.entries("losses", model)]
        different = {(entry.name, str(entry.options)): entry for entry in entries}
        searched = [f"{e.name} with other options" for e in different.values() if any(raw_domains(e.options))]
        return sorted([*(name for name, _ in different), *searched])

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
        yield from self._scored_class(dataset, card)
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

    def _scored_class(self, dataset: ComponentSpec, card: DatasetCard) -> Iterator[Mistake]:
        for i, objective in enumerate(self.spec.aim.objectives, -1):
            name = objective.metric.removeprefix(class_iou(""))
            scored = [card.classes[index] for index in card.scored] if card.scored else card.classes
            if is_class_iou(objective.metric) and name not in scored:
                hint = did_you_mean(name, scored)
                noun = "no class" if name not in card.classes else "no score of class"
                message = f"{dataset.name} has {noun} '{name}'.{hint} It has: {', '.join(scored)}"
                yield self._at(("objective", "metric") if i < 0 else ("more_objectives", i, "metric"), message)

    def _window(self, dataset: ComponentSpec, size: tuple[int, int]) -> Iterator[Mistake]:
        window = self.spec.evaluation.window
        if window and (window[0] > size[0] or window[1] > size[1]):
            allowed = f"at most [{size[0]}, {size[1]}], the image_size of {dataset.name}"
            yield self._at(("evaluation", "window"), f"must be {allowed}, not {shown(list(window))}")

    def _problems(self, path: KeyPath, problems: Any) -> Iterator[Mistake]:
        for problem in problems:
            where = (*path, *problem.option.split(".")) if problem.option else path
            yield self._at(where, problem.message)

    def _at(self, path: KeyPath, message: str) -> Mistake:
        given: KeyPath = ()
        for part in path:  # places in the spec's lists -> those in the source's
            found = self._positions.get(given)
            given = (*given, found[part] if found is not None and isinstance(part, int) else part)
        return self.source.mistake(given, message)


def _not_bounded(metric: str) -> str:
    if metric_named(metric).judges:
        return f"{metric} is sought, not bounded; constraints are on what a trial costs: {', '.join(COSTS)}"
    return f"no such cost.{did_you_mean(metric, COSTS)} Known: {', '.join(COSTS)}"
