"""What the image cache is worth: epochs from it against decoding PNGs and against arrays in memory, in one run.

    python benchmarks/data.py [--check] [--frames 64] [--rounds 5]

Frames of Cityscapes below $SEGSWEEP_DATA/cityscapes_sample, repeated, at 512 x 1024; random crops of 256 x 512 and
flips; batches of 8, normalised, on one thread. Rounds take turns and count CPU time, so that a busy machine hits all.

1. Images a second from the cache, by decoding the files each time, and from arrays in memory.
2. Private memory that four processes take which have read all of one cache, in shares of its size.
3. Building the cache with one process and with two (wall time).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch and OpenCV look

import cv2
import numpy as np
import torch

from segsweep.trainables.augmentations import light
from segsweep.trainables.cache.building import Job, build
from segsweep.trainables.cache.cached_split import CachedSplit, open_split
from segsweep.trainables.cache.files import Header
from segsweep.trainables.cache.locks import writing
from segsweep.trainables.components import Augmentation, Dataset, DatasetCard, Pair, Sample
from segsweep.trainables.datasets._files import MaskCodes, read_pair
from segsweep.trainables.places import data_folder
from segsweep.trainables.training.batches import shuffled, train_batches

DECODING_BAR = 15.0  # times the images/s of decoding
ARRAYS_BAR = 0.9  # times those of arrays in memory
MEMORY_BAR = 0.15  # of the cache's size, in each of four processes
SIZE, CROP, BATCH = (512, 1024), (256, 512), 8
READERS = 4
READER = """
import re, sys
from pathlib import Path
from segsweep.trainables.cache.cached_split import _open

def private():
    return sum(map(int, re.findall(r"Private_\\w+: +(\\d+)", Path("/proc/self/smaps_rollup").read_text())))

split = _open(Path(sys.argv[1]))
split.pair(0).image.sum()
before = private()
for i in range(len(split)):
    split.pair(i).image.sum(), split.pair(i).label.sum(), split.original_label(i).sum()
print("read", flush=True)
sys.stdin.readline()  # until all have read: a page that only one process maps counts as private
print(private() - before, flush=True)
sys.stdin.readline()
"""


@dataclass(frozen=True)
class Pairs:
    """In place of a CachedSplit."""

    pair: Callable[[int], Pair]
    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)


def frames(count: int) -> Dataset:
    """Exits where the files are not."""
    root = data_folder() / "cityscapes_sample"
    images = sorted(root.glob("leftImg8bit/*/*/*_leftImg8bit.png"))
    if not images:
        print(f"nothing measured: no frames below {root} (SEGSWEEP_DATA)", file=sys.stderr)
        sys.exit(0)
    codes = MaskCodes.of([f"class {i}" for i in range(19)], ignore=[255])
    reads = [partial(read_pair, image, mask_of(image), codes) for image in images]
    samples = [Sample(f"frame {i}", f"{i}", reads[i % len(reads)]) for i in range(count)]
    return Dataset(DatasetCard(codes.classes, ((0, 0, 0),) * 19), {"train": samples})


def mask_of(image: Path) -> Path:
    name = image.name.replace("_leftImg8bit", "_gtFine_labelTrainIds")
    return image.parents[3] / "gtFine" / image.parents[1].name / image.parent.name / name


def in_arrays(split: CachedSplit) -> Pairs:
    images = np.stack([split.pair(i).image for i in range(len(split))])
    labels = np.stack([split.pair(i).label for i in range(len(split))])
    return Pairs(lambda i: Pair(images[i], labels[i]), split.ids)


def epoch_s(source: Pairs | CachedSplit, augment: Augmentation, epoch: int) -> float:
    """CPU seconds of an epoch."""
    began = time.process_time()
    for _ in train_batches(source, augment, shuffled(len(source), BATCH, 0, epoch), torch.device("cpu")):
        pass
    return time.process_time() - began


def images_per_second(data: Dataset, split: CachedSplit, rounds: int) -> dict[str, float]:
    samples = data.splits["train"]
    sources = {
        "cache": split,
        "decoding": Pairs(lambda i: samples[i].read(), split.ids),
        "arrays": in_arrays(split),
    }
    augment = light.build(light.Options(scale_min=1, scale_max=1, jitter=0), CROP)
    measured = [{name: epoch_s(it, augment, n) for name, it in sources.items()} for n in range(rounds + 1)]
    return {name: len(split) / statistics.median(one[name] for one in measured[1:]) for name in sources}


def private_bytes(folder: Path) -> list[int]:
    """That each of four processes added by reading all of a cache."""
    command = [sys.executable, "-c", READER, str(folder)]
    readers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(READERS)
    ]
    added = []
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "read\n"
    for reader in readers:
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write("\n")
        reader.stdin.flush()
        added.append(1024 * int(reader.stdout.readline()))
    for reader in readers:
        reader.communicate("\n")
    return added


def build_s(data: Dataset, place: Path, processes: int) -> float:
    samples = data.splits["train"]
    header = Header(
        dataset="cityscapes", split="train", image_size=SIZE, images=len(samples), classes=data.card.classes
    )
    began = time.perf_counter()
    with writing(place, "new") as lock:
        build(Job(place, header, samples, lock, lambda done, total: None, processes))
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 if a bar is missed")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    data = frames(arguments.frames)
    with tempfile.TemporaryDirectory() as folder:
        split = open_split(data, "cityscapes", "train", SIZE, Path(folder))
        rates = images_per_second(data, split, arguments.rounds)
        place = split.folder
        del split  # or its pages would count as shared with this process
        size = sum(path.stat().st_size for path in place.iterdir())
        added = max(private_bytes(place))
        seconds = {processes: build_s(data, Path(folder) / f"by {processes}", processes) for processes in (1, 2)}
    results = [
        ("cache / decoding, images/s", rates["cache"] / rates["decoding"], DECODING_BAR, True),
        ("cache / arrays in memory, images/s", rates["cache"] / rates["arrays"], ARRAYS_BAR, True),
        (f"private memory / cache of {size / 2**20:.0f} MiB, of {READERS} processes", added / size, MEMORY_BAR, False),
    ]
    print(", ".join(f"{name} {rate:.0f} images/s" for name, rate in rates.items()))
    print(f"{'ratio':>7} {'bar':>7}  of")
    for name, ratio, bar, at_least in results:
        print(f"{ratio:7.2f} {'>= ' if at_least else ' < '}{bar:4.2f}  {name}")
    print(f"{seconds[1] / seconds[2]:7.2f}          building with 2 processes / with 1, images/s (wall time)")
    missed = [name for name, ratio, bar, at_least in results if (ratio >= bar) != at_least]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    sys.exit(1 if missed and arguments.check else 0)


if __name__ == "__main__":
    main()
