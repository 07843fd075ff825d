"""What the user asks `segsweep predict` for, checked against the network: every mistake at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.trainables.catalog import did_you_mean
from segsweep.trainables.components import DataError, DatasetCard
from segsweep.trainables.config import Evaluation, TrialConfig
from segsweep.trainables.places import file_name
from segsweep.trainables.plurals import counted

if TYPE_CHECKING:
    from segsweep.trainables.prediction.explanations import Explanation
    from segsweep.trainables.prediction.masks import Truth
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
        first: dict[str, str] = {}
        for entry in error.errors():  # of a list whose items are wrong pydantic says also that it is too short
            first.setdefault(f"--{entry['loc'][0]}" if entry["loc"] else "--window", entry["msg"])
        raise InputError(*map(Mistake, first, first.values())) from None


def mistakes(request: Request, card: DatasetCard | None, images: Sequence[str]) -> Iterator[Mistake]:
    """What can be said before the network is loaded, which takes long.

    card: of which the classes suffice; None where only the network knows them. images: the names of those given.
    """
    yield from _told(lambda: _evaluation(request, Evaluation()))
    yield from _told(lambda: _region(request))
    if request.window and request.whole:
        yield Mistake("--whole", "means without windows; leave out one of --whole and --window")
    if request.attention and request.pixel is None:
        yield Mistake("--attention", "needs --pixel x,y: from where to look")
    yield from _told(lambda: _expect_masks(request, images))
    yield from _of_card(request, card) if card else ()


def _told(attempt: Callable[[], object]) -> tuple[Mistake, ...]:
    try:
        attempt()
    except InputError as error:
        return error.mistakes
    return ()


def _expect_masks(request: Request, images: Sequence[str]) -> None:
    """Of some images at least. Raises InputError."""
    truth = _truth(request)
    if truth is not None and not any(map(truth.path, images)):
        InputError.raise_if(without_mask(request, truth, images))


def wanted(request: Request, card: DatasetCard) -> Wanted:
    """What is to be made, for a network of these classes. Raises InputError for all mistakes at once."""
    from segsweep.trainables.prediction.dense_crf import DenseCrf
    from segsweep.trainables.prediction.masks import values
    from segsweep.trainables.prediction.outputs import Wanted

    InputError.raise_if(_of_card(request, card))
    region = _region(request)
    return Wanted(
        request.output,
        values(card, request.ids),
        tuple(index for index, name in enumerate(card.classes) if name in _shown(request, card)),
        submission=request.ids == "cityscapes",
        region=region,
        crf=None if request.crf is None else DenseCrf(*request.crf),
        fewest=request.clean,
        overlay=request.overlay,
        side_by_side=request.side_by_side,
        alpha=request.alpha,
        truth=_truth(request),
        explanations=_explanations(request, card, region),
        pixel=request.pixel,
    )


def _region(request: Request) -> Region | None:
    from segsweep.trainables.prediction.sources import Region

    try:
        return None if request.roi is None else Region.parsed(request.roi)
    except ValueError as error:
        raise InputError(Mistake(f"--roi {request.roi}", str(error))) from None


def _truth(request: Request) -> Truth | None:
    from segsweep.trainables.prediction.masks import Truth

    try:
        return None if request.masks is None else Truth(request.masks)
    except DataError as error:
        raise InputError(Mistake(f"--masks {request.masks}", str(error))) from None


def without_mask(request: Request, truth: Truth, images: Sequence[str]) -> Iterator[Mistake]:
    """One for all of these images that have no mask."""
    if missing := [name for name in images if truth.path(name) is None]:
        which = f"holds no mask for {len(missing)} of {counted(len(images), 'image')}, the first is {missing[0]}"
        remedy = "masks are called as their images, or as a template says, such as 'gt/{id}_mask.png'"
        yield Mistake(f"--masks {request.masks}", f"{which}; {remedy}")


def _explanations(request: Request, card: DatasetCard, region: Region | None) -> dict[str, Explanation]:
    """By the names of their folders."""
    from segsweep.trainables.prediction.explanations import Attention, GradCam

    x, y = request.pixel or (0, 0)
    pixel = (x - region.x, y - region.y) if region else (x, y)
    of_classes = None if request.pixel is None else pixel
    found: dict[str, Explanation] = {
        f"grad-cam/{file_name(name)}": GradCam(card.classes.index(name), of_classes) for name in request.grad_cam
    }
    for layer, head in request.attention:
        found[f"attention/layer-{layer}-{f'head-{head}' if head else 'mean'}"] = Attention(layer, head, pixel)
    return found


def _shown(request: Request, card: DatasetCard) -> Sequence[str]:
    return card.classes if request.classes is None else [name.strip() for name in request.classes.split(",")]


def _of_card(request: Request, card: DatasetCard) -> Iterator[Mistake]:
    """Where the network's classes are not those that the user thinks of."""
    from segsweep.trainables.prediction.masks import values

    shown = [("--classes", name) for name in _shown(request, card)]
    for place, name in (*shown, *(("--grad-cam", name) for name in request.grad_cam)):
        if name not in card.classes:
            there = f"There are: {', '.join(card.classes)}"
            yield Mistake(place, f"'{name}' is no class.{did_you_mean(name, card.classes)} {there}")
    try:
        values(card, request.ids)
    except DataError as error:
        yield Mistake("", str(error))
