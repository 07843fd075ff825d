"""Predicting many images and videos: read ahead and written behind while the network computes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from segsweep.trainables.components import VOID, DataError, DatasetCard
from segsweep.trainables.prediction.cleaning import remove_small_segments
from segsweep.trainables.prediction.dense_crf import DenseCrf
from segsweep.trainables.prediction.explanations import Heat, explained
from segsweep.trainables.prediction.outputs import Done, Predicted, Wanted, files_of, film_pictures
from segsweep.trainables.prediction.predictor import Predictor
from segsweep.trainables.prediction.sources import Region, Source, read
from segsweep.trainables.prediction.video import Recorder, footage
from segsweep.trainables.training.prefetch import in_order

if TYPE_CHECKING:
    from segsweep.trainables.components import Uint8

Report = Callable[[int, int], object]  # frames done, of so many


def predict_images(predictor: Predictor, found: Sequence[Source], wanted: Wanted) -> Iterator[Done]:
    """In order; an image that cannot be read is a problem of its own.

    Raises OSError, DoesNotFitError, CannotExplainError.
    """
    card = predictor.trained.card
    images = in_order(lambda source: _read(source, wanted, card), found, threads=1)
    predicted = _predicted(predictor, images, wanted)
    yield from in_order(lambda it: it if isinstance(it, Done) else files_of(it, card, wanted), predicted, threads=1)


def predict_video(predictor: Predictor, source: Source, wanted: Wanted, report: Report) -> Done:
    """Videos of as many frames, as fast as this one: of overlays, beside the frames if that is wanted, and of heat.

    Raises OSError, DoesNotFitError, CannotExplainError.
    """
    card = predictor.trained.card
    recorders: dict[str, Recorder] = {}
    problems: dict[str, None] = {}

    def record(it: Predicted | Done) -> None:
        if isinstance(it, Done):
            raise DataError(it.problem)
        problems.update(dict.fromkeys(filter(None, [it.problem])))
        for ending, picture in film_pictures(it, card, wanted).items():
            path = wanted.folder / "videos" / f"{source.name}{ending}.mp4"
            recorders.setdefault(ending, Recorder(path, film.fps)).add(picture)

    done = 0
    try:
        with footage(source.path) as film:
            checked = ((source, _checked(image, source, wanted, card)) for image in film.frames)
            frames = _predicted(predictor, checked, wanted)
            for done, _ in enumerate(in_order(record, frames, threads=1), start=1):
                report(done, max(film.length, done))
            if film.length - done > 0.01 * film.length:  # what files state is not always exact
                problems[f"{source.path}: {film.length - done} of {film.length} frames could not be decoded"] = None
    except DataError as error:
        problems[str(error)] = None
    finally:
        for recorder in recorders.values():
            recorder.close()
    return Done(source, tuple(recorder.path for recorder in recorders.values()), "; ".join(problems))


def _read(source: Source, wanted: Wanted, card: DatasetCard) -> tuple[Source, Uint8 | str]:
    try:
        return source, _checked(read(source), source, wanted, card)
    except DataError as error:
        return source, str(error)


def _checked(image: Uint8, source: Source, wanted: Wanted, card: DatasetCard) -> Uint8:
    """Raises DataError where what is wanted cannot be had of it."""
    size = (image.shape[0], image.shape[1])
    if wanted.region is not None:
        wanted.region.check(source.path, size)
        size = (wanted.region.height, wanted.region.width)
    if wanted.crf is not None:
        wanted.crf.check(source.path, size, len(card.classes))
    return image


def _predicted(
    predictor: Predictor, images: Iterable[tuple[Source, Uint8 | str]], wanted: Wanted
) -> Iterator[Predicted | Done]:
    remaining = iter(images)
    while batch := list(itertools.islice(remaining, predictor.manner.batch_size)):
        readable = [_seen(image, wanted.region) for _, image in batch if not isinstance(image, str)]
        labels = iter(_labels(predictor, readable, wanted.crf))
        for source, image in batch:
            if isinstance(image, str):
                yield Done(source, problem=image)
            else:
                yield _settled(predictor, Predicted(source, image, next(labels)), wanted)


def _labels(predictor: Predictor, images: Sequence[Uint8], crf: DenseCrf | None) -> list[Uint8]:
    if crf is None:
        return predictor.labels(images) if images else []
    return [crf.labels(image, predictor.probabilities(image).numpy(force=True)) for image in images]


def _seen(image: Uint8, region: Region | None) -> Uint8:
    """The part of the image that the network sees."""
    return image if region is None else image[region.box]


def _settled(predictor: Predictor, it: Predicted, wanted: Wanted) -> Predicted:
    """Labels of what was seen, cleaned, and what explains them, at their place in the whole image."""
    labels = remove_small_segments(it.labels, wanted.fewest) if wanted.fewest > 1 else it.labels
    heats: Mapping[str, Heat] = {}
    problem = ""
    try:
        heats = explained(wanted.explanations, predictor, _seen(it.image, wanted.region))
    except DataError as error:
        problem = str(error)
    if wanted.region is not None:
        box, size = wanted.region.box, it.image.shape[:2]
        labels = _placed(labels, np.full(size, VOID, np.uint8), box)
        heats = {name: _placed(heat, np.zeros(size, np.float32), box) for name, heat in heats.items()}
    return Predicted(it.source, it.image, labels, heats, problem)


def _placed(part: np.ndarray, whole: np.ndarray, box: tuple[slice, slice]) -> np.ndarray:
    whole[box] = part
    return whole
