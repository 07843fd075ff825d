"""What a sweep seeks and bounds: metrics that there are, that compare what they rank, and that datasets have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from segsweep.orchestrator.checking.positions import At
from segsweep.orchestrator.errors import Mistake
from segsweep.orchestrator.space.domains import raw_domains, sampled_options
from segsweep.orchestrator.space.source import KeyPath
from segsweep.orchestrator.space.spec import ComponentSpec, SweepSpec
from segsweep.trainables.catalog import LOSSES, did_you_mean
from segsweep.trainables.components import DatasetCard, rises
from segsweep.trainables.config import Objective
from segsweep.trainables.metric_names import COSTS, OBJECTIVES, class_iou, is_class_iou, metric_named

LOSS_METRICS = ("val_loss", "train_loss")


class Objectives:
    """The objective, further ones and constraints of a spec."""

    def __init__(self, spec: SweepSpec, at: At) -> None:
        self.spec = spec
        self._at = at

    def mistakes(self) -> Iterator[Mistake]:
        """What shows whatever the classes are."""
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

    def of_classes(self, dataset: ComponentSpec, card: DatasetCard) -> Iterator[Mistake]:
        """Class scores that the dataset does not have."""
        for i, objective in enumerate(self.spec.aim.objectives, -1):
            name = objective.metric.removeprefix(class_iou(""))
            scored = [card.classes[index] for index in card.scored] if card.scored else card.classes
            if is_class_iou(objective.metric) and name not in scored:
                hint = did_you_mean(name, scored)
                noun = "no class" if name not in card.classes else "no score of class"
                message = f"{dataset.name} has {noun} '{name}'.{hint} It has: {', '.join(scored)}"
                yield self._at(("objective", "metric") if i < 0 else ("more_objectives", i, "metric"), message)

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


def _not_bounded(metric: str) -> str:
    if metric_named(metric).judges:
        return f"{metric} is sought, not bounded; constraints are on what a trial costs: {', '.join(COSTS)}"
    return f"no such cost.{did_you_mean(metric, COSTS)} Known: {', '.join(COSTS)}"
