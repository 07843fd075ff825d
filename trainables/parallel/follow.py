"""What a follower runs: it builds the leader's experiment and trains every epoch with it, until the leader hangs up."""

from __future__ import annotations

import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

import torch

from segsweep.trainables import catalog
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.training.epoch import Place, train_and_score
from segsweep.trainables.training.experiment import build
from segsweep.trainables.training.isolation import cpu_threads, seeded
from segsweep.trainables.training.team import connected
from segsweep.trainables.weights.loading import Pretrained


class Start(NamedTuple):
    """The first message; the others are numbers of epochs."""

    config: TrialConfig
    pretrained: Pretrained
    size: int
    place: Place  # the leader's
    meeting: Path


def main(connection: Connection, rank: int) -> None:
    """Never returns. Says in a line what went wrong, if anything does."""
    told: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_listen, args=(connection, told), daemon=True).start()
    try:
        _follow(told, rank)
    except BaseException as error:
        connection.send(f"{type(error).__name__}: {error}")
    finally:
        os._exit(1)  # whatever other threads wait for


def _listen(connection: Connection, told: SimpleQueue[Any]) -> None:
    """So that the leader's death is noticed even while its tensors are waited for."""
    while True:
        try:
            told.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)


def _follow(told: SimpleQueue[Any], rank: int) -> None:
    start: Start = told.get()
    config, device = start.config, start.place.device
    if device.type == "cuda":
        device = torch.device("cuda", rank)
        torch.cuda.set_device(device)
    place = Place(device, start.place.cpus)
    catalog.import_plugins(config.plugins)
    with cpu_threads(place.cpus), seeded(config.seed, 0, device):
        experiment = build(config, device, pretrained=start.pretrained)
        with connected(start.meeting, rank, start.size) as team:
            experiment.learner.join(team)
            while True:
                train_and_score(experiment, config, told.get(), place)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])), int(sys.argv[2]))
