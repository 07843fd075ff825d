"""Score the best trial of a CamVid sweep again, from its checkpoint, without segsweep's metrics, cache or loaders.

The network runs in torch; everything that makes the number is numpy on the label files: the confusion matrix, the
IoU of each class, their mean. Prints both values and exits with 1 if they differ by more than 1e-6.

    python benchmarks/recompute_score.py camvid_cpu-1 /folder/that/holds/camvid
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from segsweep.trainables.catalog import MODELS
from segsweep.trainables.components import Task

CLASSES, VOID = 11, 11  # as the files have them
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def best_run(sweep: str, tracking_uri: str) -> Any:
    """The finished trial with the highest val_miou that MLflow has of the sweep."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(
        experiments,
        f"tags.`segsweep.sweep` = '{sweep}' and tags.`segsweep.status` = 'finished'",
        order_by=["metrics.best_val_miou DESC"],
        max_results=1,
    )
    if not found:
        sys.exit(f"{tracking_uri} has no finished trial of sweep '{sweep}'")
    return found[0]


def load(checkpoint: Path) -> tuple[torch.nn.Module, tuple[int, int]]:
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    config = json.loads(content["config"])
    architecture = MODELS.get(config["model"]["type"])
    height, width = config["image_size"]
    options = architecture.Options.model_validate(config["model"]["options"])
    model = architecture.build(options, Task(CLASSES, (height, width), config["batch_size"]))
    model.load_state_dict(content["model"])
    return model.eval(), (height, width)


def predict(model: torch.nn.Module, image: Path, size: tuple[int, int], original: tuple[int, int]) -> npt.NDArray[Any]:
    """Logits of the image at `size`, resized bilinearly to `original`; (C, H, W) float32."""
    pixels = np.asarray(Image.open(image).convert("RGB"))
    resized = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    normalised = ((resized / 255.0 - MEAN) / STD).astype(np.float32)
    with torch.inference_mode():
        logits = model(torch.from_numpy(normalised.transpose(2, 0, 1).copy())[None])
        logits = torch.nn.functional.interpolate(logits, size=original, mode="bilinear", align_corners=False)
    return np.asarray(logits[0])


def mean_iou(confusion: npt.NDArray[np.int64]) -> float:
    """Classes that are neither in the labels nor predicted are left out."""
    hit = np.diag(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - np.diag(confusion)
    return float(np.mean(hit[union > 0] / union[union > 0]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep")
    parser.add_argument("camvid", type=Path, help="the folder with val.txt")
    parser.add_argument("--tracking-uri", default="sqlite:///mlflow.db")
    given = parser.parse_args()
    run = best_run(given.sweep, given.tracking_uri)
    model, size = load(Path(run.data.tags["segsweep.checkpoint"]))
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    for line in (given.camvid / "val.txt").read_text().splitlines():
        image, mask = line.split()
        label = np.asarray(Image.open(given.camvid / mask)).astype(np.int64)
        predicted = predict(model, given.camvid / image, size, label.shape).argmax(axis=0)
        known = label != VOID
        pairs = label[known] * CLASSES + predicted[known]
        confusion += np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    recorded, recomputed = run.data.metrics["best_val_miou"], mean_iou(confusion)
    print(f"trial {run.data.tags['segsweep.trial_id']}, {run.data.tags['segsweep.model']}")
    print(f"MLflow      {recorded:.9f}\nrecomputed  {recomputed:.9f}\ndifference  {abs(recorded - recomputed):.2e}")
    return int(abs(recorded - recomputed) > 1e-6)


if __name__ == "__main__":
    sys.exit(main())
