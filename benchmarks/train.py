"""What our loop costs: an epoch of training and of scoring against loops written by hand, over the same batches.

    python benchmarks/train.py [--check] [--pairs 20] [--gpu]

U-Net/ResNet-18 on drawn streets of 128x192, batches of 4, AdamW, cross entropy with void. Batches are prepared before,
the network is one and the same. The two loops take turns, each pair in another order, and CPU time is counted (on a GPU
wall time, after synchronising), so that a busy machine hits both. The hand-written loop against itself says how much
of a ratio is noise.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median

os.environ["OMP_NUM_THREADS"] = "1"  # before torch looks

import torch
from torch import Tensor
from torch.nn import functional as F

from segsweep.trainables.cache.cached_split import CachedSplit
from segsweep.trainables.components import VOID
from segsweep.trainables.config import Entry, Evaluation, TrialConfig
from segsweep.trainables.training.batches import Batch, eval_batches, train_batches
from segsweep.trainables.training.epochs import draws
from segsweep.trainables.training.experiment import Experiment, build, pick_device
from segsweep.trainables.training.isolation import cpu_threads, seeded
from segsweep.trainables.training.loop import evaluate, train_epoch

TRAIN_BAR, EVAL_BAR = 1.03, 1.05
BATCHES = 3
CONFIG = TrialConfig(
    trial_id="001",
    dataset=Entry(type="streets", name="streets", options={"train": 4 * BATCHES, "val": 8, "size": [128, 192]}),
    model=Entry(type="unet", name="unet", options={"encoder": "resnet18"}),
    loss=Entry(type="cross_entropy", name="cross_entropy"),
    optimizer=Entry(type="adamw", name="adamw", options={"lr": 1e-4, "weight_decay": 0.01}),
    lr_schedule=Entry(type="constant", name="constant"),
    augmentation=Entry(type="none", name="none"),
    epochs=1,
    batch_size=4,
    image_size=(128, 192),
    seed=0,
)


def by_hand(it: Experiment, batches: list[Batch]) -> None:
    """An epoch as a tutorial writes it; the loss is read once a step, as ours does for its mean."""
    model, optimizer = it.learner.model, it.learner.optimizer
    model.train()
    total = 0.0
    for batch in batches:
        loss = F.cross_entropy(model(batch.images), batch.labels, ignore_index=VOID)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        it.learner.lr_schedule.step()
        total += float(loss.detach())


@torch.inference_mode()
def scored_by_hand(it: Experiment, batches: list[Batch], labels: list[Tensor], classes: int) -> Tensor:
    """The same score: loss, logits at label size, argmax, one confusion matrix."""
    it.learner.model.eval()
    matrix, total = torch.zeros(classes, classes, dtype=torch.int64), 0.0
    for batch in batches:
        logits = it.learner.model(batch.images)
        total += float(F.cross_entropy(logits, batch.labels, ignore_index=VOID))
        for image, index in zip(logits, batch.indices, strict=True):
            label = labels[index]
            upsampled = F.interpolate(image[None], size=label.shape[-2:], mode="bilinear", align_corners=False)
            predicted, valid = upsampled.argmax(1)[0], label != VOID
            pairs = label[valid].long() * classes + predicted[valid]
            matrix += torch.bincount(pairs, minlength=classes**2).reshape(classes, classes).cpu()
    return matrix


def took_s(run: Callable[[], object], device: torch.device) -> float:
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    began = clock()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - began


def ratio(one: Callable[[], object], other: Callable[[], object], pairs: int, device: torch.device) -> float:
    """Median of one / other over pairs, whose order alternates."""
    found = []
    for number in range(pairs):
        first, second = (one, other) if number % 2 else (other, one)
        times = took_s(first, device), took_s(second, device)
        found.append(times[0] / times[1] if number % 2 else times[1] / times[0])
    return median(found)


def originals(split: CachedSplit, device: torch.device) -> list[Tensor]:
    return [torch.from_numpy(split.original_label(index).copy()).to(device) for index in range(len(split))]


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--check", action="store_true", help="exit 1 where a bar is missed")
    arguments.add_argument("--pairs", type=int, default=20)
    arguments.add_argument("--gpu", action="store_true")
    asked = arguments.parse_args()
    device = pick_device(float(asked.gpu))
    with tempfile.TemporaryDirectory() as folder, cpu_threads(1), seeded(0, 0, device):
        os.environ["SEGSWEEP_CACHE"] = str(Path(folder))
        it = build(CONFIG, device)
        batches = list(islice(train_batches(it.train, it.augment, draws(CONFIG, len(it.train), 1), device), BATCHES))
        views = list(eval_batches(it.val, CONFIG.batch_size, device))
        labels, classes = originals(it.val, device), len(it.classes)

        def ours() -> object:
            return train_epoch(it.learner, batches, epoch=1)

        def bare() -> object:
            return by_hand(it, batches)

        def our_scores() -> Tensor:
            whole = Evaluation()
            return evaluate(
                it.learner.model, it.learner.loss, it.val, whole, batch_size=CONFIG.batch_size, device=device
            ).confusion

        def bare_scores() -> Tensor:
            return scored_by_hand(it, views, labels, classes)

        equal = torch.equal(our_scores(), bare_scores())
        for run in (ours, bare):
            run()  # warm
        training, noise = ratio(ours, bare, asked.pairs, device), ratio(bare, bare, asked.pairs, device)
        scoring = ratio(our_scores, bare_scores, asked.pairs, device)
    print(f"{asked.pairs} pairs on {device}; the matrices of both are {'equal' if equal else 'NOT equal'}")
    print(f"  {training:.3f} <= {TRAIN_BAR}  an epoch of training, ours / by hand (by hand / by hand: {noise:.3f})")
    print(f"  {scoring:.3f} <= {EVAL_BAR}  scoring a split, ours / by hand")
    return int(asked.check and (training > TRAIN_BAR or scoring > EVAL_BAR or not equal))


if __name__ == "__main__":
    sys.exit(main())
