"""What a trial changes in its process, and takes back: the process is used for the next trial."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def cpu_threads(cpus: int) -> Iterator[None]:
    """Let torch and OpenCV use `cpus` threads each.

    Their default is every core of the machine; two trials with two threads each on two cores ran 7 times slower than
    with one thread each.
    """
    import cv2  # its own pool, used by decoding and augmentation

    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(cpus)
    cv2.setNumThreads(cpus)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


@contextmanager
def seeded(seed: int, epoch: int, device: torch.device, rank: int = 0) -> Iterator[None]:
    """Seed every generator from (seed, epoch); put them back as they were afterwards.

    rank: of the process among those that train together, whose dropout masks should differ.

    So an epoch draws the same dropout masks wherever and whenever it is trained: straight through, after a resume, or
    beside other trials in one process.
    """
    state = np.random.SeedSequence((seed, epoch, rank)).generate_state(3)
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        random.seed(int(state[0]))
        np.random.seed(state[1])
        torch.manual_seed(int(state[2]))
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
