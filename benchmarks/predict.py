"""What `segsweep predict` costs beside the bare forward pass with reading the images and writing the masks.

    python benchmarks/predict.py [--check] [--images N] [--runs N]

Drawn streets of 720x960 as JPEG, networks fed at 360x480 as CamVid's, random weights, batches of 4, one thread.
CPU time of all threads, the median over the runs, in which both take turns. What prediction adds is bringing images to
the network's size, normalising them, and making classes of the logits at the images' size.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from segsweep.trainables.catalog import MODELS
from segsweep.trainables.components import Task
from segsweep.trainables.config import Entry, Evaluation, TrialConfig
from segsweep.trainables.data.normalization import IMAGENET
from segsweep.trainables.datasets import streets
from segsweep.trainables.prediction.job import predict_images
from segsweep.trainables.prediction.masks import values
from segsweep.trainables.prediction.outputs import Wanted
from segsweep.trainables.prediction.predictor import Manner, Predictor
from segsweep.trainables.prediction.sources import Source, read, sources
from segsweep.trainables.prediction.trained_model import TrainedModel
from segsweep.trainables.training.arithmetic import FLOAT32

SIZE, BATCH = (360, 480), 4
Labels = npt.NDArray[np.uint8]
TIMES = 1.1  # the bar
NETWORKS = {"segformer": {"encoder": "mit_b0"}, "unet": {"encoder": "resnet18"}}


def network_of(name: str) -> TrainedModel:
    component, card = MODELS.get(name), streets.describe(streets.Options())
    kinds = ("dataset", "model", "loss", "optimizer", "lr_schedule", "augmentation")
    chosen = dict.fromkeys(kinds, Entry(type="t", name="t"))
    config = TrialConfig(trial_id="001", **chosen, epochs=1, batch_size=BATCH, image_size=SIZE, seed=0)
    network = component.build(component.Options.model_validate(NETWORKS[name]), Task(len(card.classes), SIZE, BATCH))
    device, family = torch.device("cpu"), component.family(component.Options())
    return TrainedModel(config, card, network.eval(), IMAGENET, FLOAT32, family, device, 1, {}, {})


def bare(model: TrainedModel, found: list[Source], labels: Mapping[str, Labels], wanted: Wanted) -> None:
    """Images are read, the network works on zeros, and labels that are known are written."""
    fed = torch.zeros(BATCH, 3, *SIZE)
    for start in range(0, len(found), BATCH):
        batch = found[start : start + BATCH]
        for source in batch:
            read(source)
        with torch.inference_mode():
            model.network(fed[: len(batch)])
        for source in batch:
            wanted.values.save(labels[source.name], wanted.folder / f"{source.name}.png")


def cpu_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def measured(name: str, found: list[Source], folder: Path, runs: int) -> bool:
    """Print both and their ratio; whether it meets the bar."""
    model = network_of(name)
    wanted = Wanted(folder / "masks", values(model.card, "train"), tuple(range(len(model.classes))))
    predictor = Predictor(model, Manner(SIZE, Evaluation(), BATCH))
    labels = dict(zip((source.name for source in found), predictor.stream(map(read, found)), strict=True))
    ways = (lambda: list(predict_images(predictor, found, wanted)), lambda: bare(model, found, labels, wanted))
    took = [[cpu_s(way) for way in ways] for _ in range(runs + 1)][1:]
    ours, theirs = (1000 * statistics.median(times) / len(found) for times in zip(*took, strict=True))
    print(f"{name:10} predict {ours:6.1f} ms an image   bare {theirs:6.1f} ms   {ours / theirs:.3f} x (bar {TIMES:g})")
    return ours / theirs <= TIMES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 if the bar is missed")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = streets.Options.model_validate({"size": [720, 960], "train": 1, "val": given.images, "test": 1})
        for sample in streets.build(options).splits["val"]:
            Image.fromarray(sample.read().image).save(folder / f"{sample.id}.jpg", quality=92)
        met = [measured(name, sources(folder), folder, given.runs) for name in NETWORKS]
    if not all(met):
        print("missed", file=sys.stderr)
    sys.exit(1 if not all(met) and given.check else 0)


if __name__ == "__main__":
    main()
