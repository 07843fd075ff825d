"""What scoring a frame costs on one core: the confusion update, and the way from quarter-size logits to the counts.

    python benchmarks/scoring.py [--check] [--runs N]

1024x2048 pixels, 19 classes, one thread each for torch and OpenCV; CPU time, median over the runs, in which all cases
take turns. Logits are drawn once smooth, as a trained network's, and once as noise, in which every pixel is contested.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import cv2
import torch
from torch import Tensor
from torch.nn import functional as F

from segsweep.trainables.components import VOID
from segsweep.trainables.scoring.inference import predicted_classes
from segsweep.trainables.scoring.metrics import confusion_matrix

HEIGHT, WIDTH, CLASSES = 1024, 2048, 19
UPDATE_MS, TIMES_FASTER = 15.0, 2.0  # bars: at most, at least


def logits_of(noise: bool) -> Tensor:
    """(19, 256, 512): blobs of some 100 pixels with soft edges, or independent values."""
    generator = torch.Generator().manual_seed(0)
    if noise:
        return torch.randn(CLASSES, HEIGHT // 4, WIDTH // 4, generator=generator)
    blobs = torch.randn(1, CLASSES, HEIGHT // 128, WIDTH // 128, generator=generator)
    return F.interpolate(blobs, size=(HEIGHT // 4, WIDTH // 4), mode="bicubic")[0] * 4


def interpolate_then_argmax(logits: Tensor) -> Tensor:
    upsampled = F.interpolate(logits[None], size=(HEIGHT, WIDTH), mode="bilinear", align_corners=False)
    return upsampled[0].argmax(dim=0)


def interpolate_then_max(logits: Tensor) -> Tensor:
    """The same classes at half the time: torch's argmax over the first dimension is slow."""
    upsampled = F.interpolate(logits[None], size=(HEIGHT, WIDTH), mode="bilinear", align_corners=False)
    return upsampled[0].max(dim=0).indices


def pick_then_bincount(prediction: Tensor, label: Tensor) -> Tensor:
    """The usual confusion matrix: labelled pixels are picked, then counted as int64."""
    labelled = label != VOID
    pairs = label[labelled].long() * CLASSES + prediction[labelled].long()
    return torch.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def ours(logits: Tensor) -> Tensor:
    return predicted_classes(logits, (HEIGHT, WIDTH))


def milliseconds(cases: list[Callable[[], object]], runs: int) -> list[float]:
    """Median CPU time of each; all of them once per round, after one round to warm up."""
    rounds: list[list[float]] = []
    for _ in range(runs + 1):
        rounds.append([])
        for case in cases:
            began = time.process_time()
            case()
            rounds[-1].append((time.process_time() - began) * 1e3)
    return [statistics.median(times) for times in zip(*rounds[1:], strict=True)]


def update(runs: int) -> bool:
    """Print the cost of one confusion update; whether it meets the bar."""
    prediction = ours(logits_of(noise=False))
    label = prediction.roll(3, dims=1)
    label[-100:] = VOID
    same = torch.equal(confusion_matrix(prediction, label, CLASSES), pick_then_bincount(prediction, label))
    cases = [lambda: confusion_matrix(prediction, label, CLASSES), lambda: pick_then_bincount(prediction, label)]
    here, usual = milliseconds(cases, runs)
    print(f"confusion update   {here:6.1f} ms   pick, int64 bincount {usual:6.1f} ms   {usual / here:4.1f} x")
    print(f"                   bar: under {UPDATE_MS:g} ms; counts {'equal' if same else 'DIFFER'}")
    return same and here < UPDATE_MS


def frame(noise: bool, runs: int) -> bool:
    """Print the cost of logits to counts beside that of F.interpolate, then argmax; whether it meets the bar."""
    logits = logits_of(noise)
    label = interpolate_then_argmax(logits).byte().roll(3, dims=1)
    differing = int((ours(logits) != interpolate_then_argmax(logits)).sum())
    ways = (ours, interpolate_then_argmax, interpolate_then_max)
    cases = [lambda way=way: confusion_matrix(way(logits), label, CLASSES) for way in ways]  # type: ignore[misc]
    here, argmax, maximum = milliseconds(cases, runs)
    name = "noise" if noise else "smooth"
    print(f"frame, {name:11} {here:6.1f} ms   interpolate, argmax  {argmax:6.1f} ms   {argmax / here:4.1f} x")
    print(f"                               interpolate, max     {maximum:6.1f} ms   {maximum / here:4.1f} x")
    print(f"                   bar: {TIMES_FASTER:g} x of the faster; {differing} of {HEIGHT * WIDTH} pixels differ")
    return differing == 0 and maximum / here >= TIMES_FASTER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 if a bar is missed")
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    met = [update(arguments.runs), frame(False, arguments.runs), frame(True, arguments.runs)]
    if not all(met):
        print("missed", file=sys.stderr)
    sys.exit(1 if not all(met) and arguments.check else 0)


if __name__ == "__main__":
    main()
