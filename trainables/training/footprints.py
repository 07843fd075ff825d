"""How much memory a trial takes: real updates and real scoring, watched in a process of its own that then ends.

As a program it reads one JSON object, {configs: [...], cpus, gpus}, and answers each configuration with a line:

    python -m segsweep.trainables.training.footprints <<< '{"configs": [...], "cpus": 1, "gpus": 0.0}'

What every trial imports is imported once; each measurement is a fork of that process, as large as a worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segsweep.trainables.storage import GIB

if TYPE_CHECKING:
    import torch

    from segsweep.trainables.config import TrialConfig
    from segsweep.trainables.training.batches import Batch
    from segsweep.trainables.training.experiment import Experiment

UPDATES = 2  # with the second the optimizer's state is there as well


class Footprint(NamedTuple):
    """Of a process that trains and scores a configuration; GiB."""

    host_gib: float = 0.0  # resident at most, what all processes share included
    gpu_gib: float = 0.0  # reserved at most by torch, without CUDA's own; 0 on a CPU
    gpu_total_gib: float = 0.0  # of the smallest GPU that the process saw
    micro_batch: int = 0  # images that were trained on at once; 0: memory holds not even one
    error: str = ""  # why nothing was measured; what memory does not hold is no error


def footprint(config: TrialConfig, micro_batch: int, *, cpus: int, gpus: float) -> Footprint:
    """Train and score a few batches, `micro_batch` images at once. The process is good for nothing else afterwards.

    Raises what building and training raise.
    """
    import torch

    from segsweep.trainables.catalog import import_plugins
    from segsweep.trainables.training.experiment import build, least_batch, pick_device
    from segsweep.trainables.training.isolation import cpu_threads, seeded
    from segsweep.trainables.training.loop import evaluate, train_epoch
    from segsweep.trainables.training.memory import peak_gib

    import_plugins(config.plugins)
    device = pick_device(gpus)
    longer = config.model_copy(update={"epochs": config.epochs + UPDATES, "accumulation": 1})  # its LR schedule lasts
    with cpu_threads(cpus), seeded(config.seed, 0, device):
        it = build(longer, device)
        least = least_batch(config, len(it.classes))
        it.learner.micro_batch, it.learner.least_batch = micro_batch, least
        train_epoch(it.learner, _few_batches(it, longer, device, cpus), epoch=1)
        evaluate(
            it.learner.scored,
            it.learner.loss,
            it.val.first(min(micro_batch, len(it.val))),
            config.evaluation,
            batch_size=micro_batch,
            device=device,
            normalization=it.pretrained.normalization,
            arithmetic=it.learner.arithmetic,
        )
    host_gib, at_once = peak_gib(torch.device("cpu")), max(micro_batch, least)
    if device.type == "cpu":
        return Footprint(host_gib, micro_batch=at_once)
    totals = [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]
    return Footprint(host_gib, torch.cuda.max_memory_reserved(device) / GIB, min(totals) / GIB, at_once)


def _few_batches(it: Experiment, config: TrialConfig, device: torch.device, cpus: int) -> Iterator[Batch]:
    from segsweep.trainables.training.batches import prefetch_threads, train_batches
    from segsweep.trainables.training.epochs import draws

    def epoch(number: int) -> Iterator[Batch]:
        drawn, threads = draws(config, len(it.train), number), prefetch_threads(device, cpus)
        return train_batches(it.train, it.augment, drawn, device, threads, it.pretrained.normalization)

    return islice(chain.from_iterable(map(epoch, count(1))), UPDATES)


def fitting(attempt: Callable[[int], Footprint | None], batch_size: int) -> Footprint:
    """Of a batch, else of its half and so on, as a trial does; attempt: None where memory does not hold as much."""
    size = batch_size
    while size:
        if (found := attempt(size)) is not None:
            return found
        size //= 2
    return Footprint()


def in_a_fork(measure: Callable[[], Footprint]) -> Footprint | None:
    """What `measure` finds in a process of its own; None if memory does not hold that, kernel's kill included."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as answer:
            answer.write(json.dumps(_measured(measure)))
        os._exit(0)  # nothing of the parent's is to be closed here
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended == -signal.SIGKILL:
        return None
    if ended or not text:
        return Footprint(error=f"the process that measured it ended with code {ended}")
    found = json.loads(text)
    return found and Footprint(*found)


def _measured(measure: Callable[[], Footprint]) -> Footprint | None:
    from segsweep.trainables.training.micro_batches import out_of_memory

    with contextlib.suppress(OSError):  # not on Linux
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs out, nobody else is to be killed
    try:
        return measure()
    except Exception as error:  # whatever a model, a loss or the device objects to
        return None if out_of_memory(error) else Footprint(error=f"{type(error).__name__}: {error}")


def main(request: dict[str, Any], answer: Callable[[str], None]) -> None:
    from segsweep.trainables.config import TrialConfig
    from segsweep.trainables.training import experiment, loop  # noqa: F401  # once, for all forks

    cpus, gpus = int(request["cpus"]), float(request["gpus"])
    for config in map(TrialConfig.model_validate, request["configs"]):

        def attempt(size: int, config: TrialConfig = config) -> Footprint | None:
            return in_a_fork(lambda: footprint(config, size, cpus=cpus, gpus=gpus))

        answer(json.dumps(fitting(attempt, config.batch_size)))


if __name__ == "__main__":
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    main(json.load(sys.stdin), lambda line: print(line, file=out))
