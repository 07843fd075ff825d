"""Predicting many images and videos: read ahead and written behind while the network computes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from segsweep.trainables.components import VOID, DataError, DatasetCard
from segsweep.trainables.prediction.cleaning import remove_small_segments
from segsweep.trainables.prediction.masks import Truth, Values, only, submission_name
from segsweep.trainables.prediction.pictures import error_map, overlay, side_by_side, with_legend
from segsweep.trainables.prediction.predictor import Predictor
from segsweep.trainables.prediction.sources import Region, Source, read
from segsweep.trainables.prediction.video import Recorder, footage
from segsweep.trainables.scoring.metrics import confusion_matrix
from segsweep.trainables.training.prefetch import in_order

if TYPE_CHECKING:
    from segsweep.trainables.components import Uint8

JPEG_QUALITY = 92


@dataclass(frozen=True)
class Wanted:
    """What is to be made of images and videos."""

    folder: Path
    values: Values
    classes: tuple[int, ...]  # that are shown; pixels of others are VOID in masks, and bare in pictures
    submission: bool = False  # names as Cityscapes' scorer wants them
    region: Region | None = None  # what the network sees of an image; the rest is VOID
    fewest: int = 0  # pixels of a segment that stays
    overlay: bool = False
    side_by_side: bool = False
    alpha: float = 0.6  # of the colours in an overlay
    truth: Truth | None = None


class Done(NamedTuple):
    """What became of one image or video."""

    source: Source
    files: tuple[Path, ...] = ()
    problem: str = ""
    confusion: torch.Tensor | None = None  # (C, C) int64, where there is a truth


class Predicted(NamedTuple):
    source: Source
    image: Uint8
    labels: Uint8  # of the image's size


Report = Callable[[int, int], object]  # frames done, of so many


def predict_images(predictor: Predictor, found: Sequence[Source], wanted: Wanted) -> Iterator[Done]:
    """In order; an image that cannot be read is a problem of its own. Raises OSError, DoesNotFitError."""
    card = predictor.trained.card
    read_ahead = in_order(lambda source: _read(source, wanted.region), found, threads=1)
    yield from in_order(lambda each: _written(each, card, wanted), _predicted(predictor, read_ahead, wanted), threads=1)


def _read(source: Source, region: Region | None) -> tuple[Source, Uint8 | str]:
    try:
        image = read(source)
        if region is not None:
            region.check(source.path, (image.shape[0], image.shape[1]))
    except DataError as error:
        return source, str(error)
    return source, image


def _predicted(
    predictor: Predictor, images: Iterable[tuple[Source, Uint8 | str]], wanted: Wanted
) -> Iterator[Predicted | Done]:
    remaining = iter(images)
    while batch := list(itertools.islice(remaining, predictor.manner.batch_size)):
        readable = [(source, image) for source, image in batch if not isinstance(image, str)]
        labels = iter(predictor.labels([seen(image, wanted.region) for _, image in readable]) if readable else [])
        for source, image in batch:
            if isinstance(image, str):
                yield Done(source, problem=image)
            else:
                yield Predicted(source, image, settled(next(labels), image, wanted))


def seen(image: Uint8, region: Region | None) -> Uint8:
    """The part of the image that the network sees."""
    return image if region is None else image[region.box]


def settled(labels: Uint8, image: Uint8, wanted: Wanted) -> Uint8:
    """Labels of what was seen, cleaned, at their place in the whole image."""
    if wanted.fewest > 1:
        labels = remove_small_segments(labels, wanted.fewest)
    if wanted.region is None:
        return labels
    whole = np.full(image.shape[:2], VOID, np.uint8)
    whole[wanted.region.box] = labels
    return whole


def _written(each: Predicted | Done, card: DatasetCard, wanted: Wanted) -> Done:
    if isinstance(each, Done):
        return each
    try:
        return _files_of(each, card, wanted)
    except DataError as error:
        return Done(each.source, problem=str(error))


def _files_of(it: Predicted, card: DatasetCard, wanted: Wanted) -> Done:
    name, shown = it.source.name, only(it.labels, wanted.classes)
    mask = wanted.folder / "masks" / f"{submission_name(name) if wanted.submission else name}.png"
    wanted.values.save(shown, mask)
    files, confusion, problem = [mask], None, ""
    pictures: dict[str, Uint8] = {}
    if wanted.overlay or wanted.side_by_side:
        painted = overlay(it.image, shown, card.colors, wanted.alpha)
        present = [index for index in np.unique(shown).tolist() if index != VOID]
        if wanted.overlay:
            pictures["overlays"] = _with_names(painted, card, present)
        if wanted.side_by_side:
            pictures["side-by-side"] = _with_names(side_by_side(it.image, painted), card, present)
    if wanted.truth is not None:
        try:
            truth = np.where(it.labels == VOID, np.uint8(VOID), wanted.truth.of(name, it.labels.shape[:2]))
            confusion = _confusion(it.labels, truth, len(card.classes))
            pictures["errors"] = error_map(it.image, it.labels, truth)
        except DataError as error:
            problem = str(error)
    files += [_save(picture, wanted.folder / kind / f"{name}.jpg") for kind, picture in pictures.items()]
    return Done(it.source, tuple(files), problem, confusion)


def _confusion(labels: Uint8, truth: Uint8, classes: int) -> torch.Tensor:
    """Where labels are VOID, so is the truth."""
    known = torch.from_numpy(np.where(labels == VOID, np.uint8(0), labels))
    return confusion_matrix(known, torch.from_numpy(truth), classes)


def _with_names(picture: Uint8, card: DatasetCard, classes: Sequence[int]) -> Uint8:
    return with_legend(picture, [card.classes[i] for i in classes], [card.colors[i] for i in classes])


def _save(picture: Uint8, path: Path) -> Path:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=JPEG_QUALITY)
    return path


def predict_video(predictor: Predictor, source: Source, wanted: Wanted, report: Report) -> Done:
    """A video of as many frames, as fast as this one: overlays, with the frames beside them if that is wanted.

    Raises OSError, DoesNotFitError.
    """
    card = predictor.trained.card
    path = wanted.folder / "videos" / f"{source.name}.mp4"
    try:
        with footage(source.path) as film:
            recorder = Recorder(path, film.fps)

            def record(frame: Predicted) -> None:
                painted = overlay(frame.image, only(frame.labels, wanted.classes), card.colors, wanted.alpha)
                picture = side_by_side(frame.image, painted) if wanted.side_by_side else painted
                recorder.add(_with_names(picture, card, wanted.classes))

            try:
                for done, _ in enumerate(in_order(record, _frames(predictor, source, film.frames, wanted), 1), start=1):
                    report(done, max(film.length, done))
            finally:
                recorder.close()
    except DataError as error:
        return Done(source, problem=str(error))
    lost = film.length - recorder.frames
    few = f"{source.path}: {lost} of {film.length} frames could not be decoded" if lost > 0.01 * film.length else ""
    return Done(source, (path,), few)


def _frames(predictor: Predictor, source: Source, frames: Iterable[Uint8], wanted: Wanted) -> Iterator[Predicted]:
    remaining = iter(frames)
    while batch := list(itertools.islice(remaining, predictor.manner.batch_size)):
        if wanted.region is not None:
            wanted.region.check(source.path, (batch[0].shape[0], batch[0].shape[1]))
        for image, labels in zip(batch, predictor.labels([seen(image, wanted.region) for image in batch]), strict=True):
            yield Predicted(source, image, settled(labels, image, wanted))
