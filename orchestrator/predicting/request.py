"""What the user asks `segsweep predict` for, checked against the network: every mistake at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.trainables.catalog import did_you_mean
from segsweep.trainables.components import DataError, DatasetCard
from segsweep.trainables.config import Evaluation, TrialConfig
from segsweep.trainables.places import file_name

if TYPE_CHECKING:
    from segsweep.trainables.prediction.explanations import Explanation
    from segsweep.trainables.prediction.outputs import Wanted
    from segsweep.trainables.prediction.predictor import Manner
    from segsweep.trainables.prediction.sources import Region


@dataclass(frozen=True, kw_only=True)
class Request:
    """As the command line says it."""

    output: Path
    ids: Literal["train", "original", "cityscapes"] = "train"
    classes: str | None = None  # names, with commas between them
    overlay: bool = False
    side_by_side: bool = False
    alpha: float = 0.6
    roi: str | None = None  # x,y,w,h
    crf: tuple[float, float] | None = None  # standard deviations: pixels, colour values
    clean: int = 0
    masks: str | None = None  # a folder or a template
    size: tuple[int, int] | Literal["original"] | None = None
    window: tuple[int, int] | None = None
    whole: bool = False  # no windows, though the trial was scored with them
    overlap: float | None = None
    flip: bool | None = None
    scales: str | None = None  # 0.75,1
    batch_size: int | None = None
    grad_cam: tuple[str, ...] = ()  # classes
    attention: tuple[tuple[int, int], ...] = ()  # layer and head, from 1; head 0 is the mean
    pixel: tuple[int, int] | None = None  # x, y


def manner(request: Request, config: TrialConfig) -> Manner:
    """As the trial was scored, but for what is asked otherwise. Raises InputError."""
    from segsweep.trainables.prediction.predictor import Manner

    as_scored = Manner.as_scored(config)
    size = as_scored.image_size if request.size is None else request.size
    return Manner(
        None if size == "original" else size,
        _evaluation(request, as_scored.evaluation),
        request.batch_size or as_scored.batch_size,
    )


def _evaluation(request: Request, scored: Evaluation) -> Evaluation:
    changes: dict[str, Any] = {"overlap": request.overlap, "flip": request.flip}
    if request.window or request.whole:
        changes |= {"method": "sliding_window" if request.window else "whole", "window": request.window or ()}
    if request.scales is not None:
        changes["scales"] = request.scales.split(",")
    changes = {key: value if value != () else None for key, value in changes.items() if value is not None}
    try:
        return Evaluation.model_validate(scored.model_dump() | changes)
    except ValidationError as error:
        place = [f"--{entry['loc'][0]}" if entry["loc"] else "--window" for entry in error.errors()]
        messages = (entry["msg"] for entry in error.errors())
        raise InputError(*map(Mistake, place, messages)) from None


def wanted(request: Request, card: DatasetCard) -> Wanted:
    """What is to be made, for a network of these classes. Raises InputError for all mistakes at once."""
    from segsweep.trainables.prediction.dense_crf import DenseCrf
    from segsweep.trainables.prediction.masks import Truth, values
    from segsweep.trainables.prediction.outputs import Wanted

    mistakes = [*_class_mistakes(request, card)]
    found = Wanted(
        request.output,
        values(card, "train"),
        _classes(request, card),
        submission=request.ids == "cityscapes",
        crf=None if request.crf is None else DenseCrf(*request.crf),
        fewest=request.clean,
        overlay=request.overlay,
        side_by_side=request.side_by_side,
        alpha=request.alpha,
    )
    try:
        found = replace(found, values=values(card, request.ids))
    except DataError as error:
        mistakes.append(Mistake("", str(error)))
    try:
        found = replace(found, region=_region(request.roi))
    except ValueError as error:
        mistakes.append(Mistake(f"--roi {request.roi}", f"must be x,y,w,h in pixels ({error})"))
    try:
        explanations = _explanations(request, card, found.region)
        found = replace(found, explanations=explanations, pixel=request.pixel)
    except InputError as error:
        mistakes += error.mistakes
    try:
        found = replace(found, truth=None if request.masks is None else Truth(request.masks, card))
    except DataError as error:
        mistakes.append(Mistake(f"--masks {request.masks}", str(error)))
    InputError.raise_if(mistakes)
    return found


def _region(text: str | None) -> Region | None:
    from segsweep.trainables.prediction.sources import Region

    return None if text is None else Region.parsed(text)


def _explanations(request: Request, card: DatasetCard, region: Region | None) -> dict[str, Explanation]:
    """By the names of their folders. Raises InputError."""
    from segsweep.trainables.prediction.explanations import Attention, GradCam

    InputError.raise_if(_no_class("--grad-cam", name, card) for name in request.grad_cam if name not in card.classes)
    if request.attention and request.pixel is None:
        raise InputError(Mistake("--attention", "needs --pixel x,y: from where to look"))
    x, y = request.pixel or (0, 0)
    pixel = (x - region.x, y - region.y) if region else (x, y)
    of_classes = None if request.pixel is None else pixel
    found: dict[str, Explanation] = {
        f"grad-cam/{file_name(name)}": GradCam(card.classes.index(name), of_classes) for name in request.grad_cam
    }
    for layer, head in request.attention:
        found[f"attention/layer-{layer}-{f'head-{head}' if head else 'mean'}"] = Attention(layer, head, pixel)
    return found


def _names(request: Request, card: DatasetCard) -> Sequence[str]:
    return card.classes if request.classes is None else [name.strip() for name in request.classes.split(",")]


def _classes(request: Request, card: DatasetCard) -> tuple[int, ...]:
    return tuple(index for index, name in enumerate(card.classes) if name in _names(request, card))


def _class_mistakes(request: Request, card: DatasetCard) -> Iterator[Mistake]:
    for name in _names(request, card):
        if name not in card.classes:
            yield _no_class("--classes", name, card)


def _no_class(place: str, name: str, card: DatasetCard) -> Mistake:
    there = f"There are: {', '.join(card.classes)}"
    return Mistake(place, f"'{name}' is no class.{did_you_mean(name, card.classes)} {there}")
