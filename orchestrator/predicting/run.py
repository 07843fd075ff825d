"""Predict what was given, and say what became of it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from segsweep.orchestrator.board.trained import Trained
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.predicting.request import Request, manner, mistakes, wanted, without_mask
from segsweep.orchestrator.progress import Progress
from segsweep.orchestrator.table import aligned
from segsweep.trainables.catalog import UnknownComponentError
from segsweep.trainables.components import DataError, DatasetCard, DoesNotFitError, WeightsError
from segsweep.trainables.places import CONFIG, CONFUSIONS, WEIGHTS
from segsweep.trainables.plurals import counted
from segsweep.trainables.scoring.confusions import load_confusions

if TYPE_CHECKING:
    from torch import Tensor

    from segsweep.trainables.prediction.outputs import Done, Wanted
    from segsweep.trainables.prediction.predictor import Predictor
    from segsweep.trainables.prediction.sources import Source
    from segsweep.trainables.prediction.trained_model import TrainedModel

Device = Literal["auto", "cpu", "cuda"]
SCORES = "scores.json"


@dataclass
class Outcome:
    """Of all that was given."""

    images: int = 0
    videos: int = 0
    files: list[Path] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    scores: dict[str, float | None] = field(
        default_factory=dict
    )  # miou, iou/CLASS (None: absent) ...; {} without truth


def model_of(trained: Trained, device: Device) -> TrainedModel:
    """Raises InputError."""
    import torch

    from segsweep.trainables.prediction.trained_model import load_trained
    from segsweep.trainables.training.checkpoint import CheckpointError
    from segsweep.trainables.training.experiment import pick_device

    gpus = torch.cuda.is_available() if device == "auto" else device == "cuda"
    try:
        return load_trained(trained.checkpoint, pick_device(float(gpus)))
    except (CheckpointError, UnknownComponentError, WeightsError, OSError) as error:
        raise InputError(Mistake(f"RUN {trained}", str(error))) from None
    except RuntimeError as error:  # of pick_device
        raise InputError(Mistake(f"--device {device}", str(error))) from None


def predict(model: TrainedModel, found: Sequence[Source], request: Request) -> Outcome:
    """All that can be predicted; what cannot is a mistake of the outcome. Raises InputError if nothing can."""
    from segsweep.trainables.prediction.explanations import CannotExplainError
    from segsweep.trainables.prediction.predictor import Predictor

    asked, predictor = wanted(request, model.card), Predictor(model, manner(request, model.config))
    outcome = Outcome()
    if asked.truth is not None:
        outcome.mistakes += without_mask(request, asked.truth, _images(found))
    confusions: list[Tensor] = []
    try:
        for done in _each(predictor, found, asked):
            outcome.files += done.files
            outcome.images += done.source.kind == "image" and bool(done.files)
            outcome.videos += done.source.kind == "video" and bool(done.files)
            if done.problem and Mistake("", done.problem) not in outcome.mistakes:  # some hold for every image
                outcome.mistakes.append(Mistake("", done.problem))
            confusions += [] if done.confusion is None else [done.confusion]
    except DoesNotFitError as error:
        raise InputError(Mistake("", f"{error}; give a smaller --size or --window, or --device cpu")) from None
    except CannotExplainError as error:
        raise InputError(Mistake("", str(error))) from None
    except OSError as error:
        raise InputError(
            Mistake(f"--output {request.output}", f"cannot be written: {error.strerror or error}")
        ) from None
    outcome.scores = _scores(confusions, model) if confusions else {}
    if outcome.scores:
        path = request.output / SCORES
        path.write_text(json.dumps(outcome.scores, indent=2) + "\n")
        outcome.files.append(path)
    return outcome


def checked(given: Sequence[Path], request: Request, trained: Trained) -> list[Source]:
    """What is to be predicted. Raises InputError for all that is wrong with it and the request, as far as that can be
    said without torch: loading it and a network takes long."""
    from segsweep.trainables.prediction.sources import check_names, problems_if_none_opens, sources

    found: list[Source] = []
    wrong: list[Mistake] = []
    for path in given:
        try:
            found += [source for source in sources(path) if source not in found]  # given twice, predicted once
        except DataError as error:
            wrong.append(Mistake("INPUT", str(error)))
    try:
        check_names(found)
    except DataError as error:
        wrong.append(Mistake("INPUT", str(error)))
    wrong += (Mistake("", problem) for problem in problems_if_none_opens(found))
    InputError.raise_if((*wrong, *mistakes(request, _card_beside(trained.checkpoint), _images(found))))
    return found


def _images(found: Sequence[Source]) -> list[str]:
    return [source.name for source in found if source.kind == "image"]


def _card_beside(checkpoint: Path) -> DatasetCard | None:
    """With the classes alone, of the files that lie beside a checkpoint; None where none tells them."""
    try:
        if checkpoint.name == WEIGHTS:
            return DatasetCard(tuple(json.loads(checkpoint.with_name(CONFIG).read_text())["card"]["classes"]), ())
        return DatasetCard(load_confusions(checkpoint.with_name(CONFUSIONS)).classes, ())
    except (KeyError, OSError, TypeError, ValueError):  # the network is still to be asked, or is as bad
        return None


def _each(predictor: Predictor, found: Sequence[Source], asked: Wanted) -> Iterator[Done]:
    from segsweep.trainables.prediction.job import predict_images, predict_video

    images = [source for source in found if source.kind == "image"]
    quiet = not sys.stderr.isatty()  # its label alone would tell nobody anything
    with Progress("images", quiet=quiet) as progress:
        for number, done in enumerate(predict_images(predictor, images, asked), start=1):
            progress(number, len(images))
            yield done
    for source in found:
        if source.kind == "video":
            with Progress(source.path.name, quiet=quiet) as progress:
                yield predict_video(predictor, source, asked, progress)


def _scores(confusions: Sequence[Tensor], model: TrainedModel) -> dict[str, float | None]:
    from segsweep.trainables.scoring.metrics import scores

    total = sum(confusions[1:], confusions[0])
    scored = model.card.scored
    labelled = total if scored is None else total[list(scored)]
    found = scores(total, model.classes, prefix="", scored=scored) if labelled.any() else {}
    return {name: None if math.isnan(value) else value for name, value in found.items()}


def as_lines(outcome: Outcome, folder: Path) -> Iterator[str]:
    """What was made, for people."""
    if outcome.scores:
        rows = [("class", "IoU")]
        for name, value in outcome.scores.items():
            if name.startswith("iou/"):
                rows.append((name.removeprefix("iou/"), "absent" if value is None else f"{value:.4f}"))
        yield from aligned(rows, [1])
        yield f"mIoU {outcome.scores['miou']:.4f}, pixel accuracy {outcome.scores['pixel_accuracy']:.4f}"
    counts = [(outcome.images, "image"), (outcome.videos, "video")]
    made = " and ".join(counted(count, noun) for count, noun in counts if count) or "nothing"
    yield f"{made} predicted, {counted(len(outcome.files), 'file')} in {folder}"
