"""The images that the winner of a dataset segments worst and best, predicted again from its checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segsweep.orchestrator.board.trained import Trained
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.predicting.run import model_of
from segsweep.orchestrator.report.data import Example, Examples, Trial
from segsweep.trainables.catalog import UnknownComponentError
from segsweep.trainables.components import VOID, DataError, DoesNotFitError, Sample
from segsweep.trainables.scoring.confusions import Confusions, Matrix

if TYPE_CHECKING:
    from segsweep.trainables.components import Uint8
    from segsweep.trainables.prediction.trained_model import TrainedModel

logger = logging.getLogger(__name__)

WORST, BEST = 3, 2
WIDEST = 320  # pixels of a picture on the page
ALPHA = 0.65  # of the colours over an image
BLACK = 16  # no channel of what counts as black has more


def examples_of(trial: Trial, confusions: Confusions | None, checkpoint: Path) -> Examples | str:
    """Of the trial's validation images, or why there are none."""
    if confusions is None:
        return "the confusion matrices of single images are not here (confusions.npz of the trial)"
    if not checkpoint.is_file():
        return f"the checkpoint of trial {trial.id} is not here (best.pt)"
    try:
        samples = _samples(trial)
        model = model_of(Trained(checkpoint), "auto")
        return _examples(trial, confusions, samples, model)
    except (InputError, DataError, UnknownComponentError, DoesNotFitError, OSError, KeyError) as error:
        logger.debug("no pictures of trial %s", trial.id, exc_info=True)
        lacking = f"image {error} is not among them now" if isinstance(error, KeyError) else str(error)
        return f"the images of {trial.cell.dataset} cannot be shown: {lacking}"


def _samples(trial: Trial) -> dict[str, Sample]:
    """Validation images by id, listed and not read. Raises DataError."""
    from segsweep.trainables.data.splits import open_dataset

    dataset = open_dataset(trial.config.dataset.type, trial.config.dataset.options)
    return {sample.id: sample for sample in dataset.splits.get("val", ())}


def _examples(trial: Trial, confusions: Confusions, samples: dict[str, Sample], model: TrainedModel) -> Examples:
    scored = sorted(image_scores(confusions))
    worst = scored[:WORST]
    best = scored[len(worst) :][-BEST:][::-1]
    shown = [(samples[id_], score) for score, id_ in (*worst, *best)]
    names, colors = model.card.classes, model.card.colors
    bare = tuple(index for index, color in enumerate(colors) if max(color) <= BLACK)
    examples = list(_predicted(shown, model, bare))
    first, last = tuple(examples[: len(worst)]), tuple(examples[len(worst) :])
    return Examples(trial.id, trial.cell.model, names, colors, bare, first, last)


def image_scores(confusions: Confusions) -> Iterator[tuple[float, str]]:
    """mIoU and id of every image that is not all void."""
    for index, id_ in enumerate(confusions.ids):
        matrix = confusions.matrix(index)
        if matrix.any():
            yield miou(matrix), id_


def miou(matrix: Matrix) -> float:
    """(C, C) of one image, not all 0: over the classes in its truth or prediction."""
    hits = matrix.diagonal()
    unions = matrix.sum(0) + matrix.sum(1) - hits
    return float((hits[unions > 0] / unions[unions > 0]).mean())


def _predicted(
    shown: Sequence[tuple[Sample, float]], model: TrainedModel, unpainted: Sequence[int]
) -> Iterator[Example]:
    import numpy as np

    from segsweep.trainables.prediction.pictures import error_map, overlay
    from segsweep.trainables.prediction.predictor import Predictor

    predictor = Predictor(model)
    for sample, score in shown:
        image, label = sample.read()
        (labels,) = predictor.labels([image])
        painted = [np.where(np.isin(one, unpainted), np.uint8(VOID), one) for one in (label, labels)]
        overlays = (overlay(image, one, model.card.colors, ALPHA) for one in painted)
        pictures = (image, *overlays, error_map(image, labels, label))
        yield Example(sample.id, score, *map(_small, pictures))


def _small(picture: Uint8) -> Uint8:
    import cv2
    import numpy as np

    height, width = picture.shape[:2]
    scale = min(1.0, WIDEST / width)
    size = round(width * scale), max(1, round(height * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
