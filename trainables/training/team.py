"""The processes that train a trial together, as one of them sees them."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

if TYPE_CHECKING:
    from segsweep.trainables.training.checkpoint import Learned

T = TypeVar("T")

PATIENCE = timedelta(minutes=10)  # for a process that does not answer; one that died is noticed at once


class Team:
    """Of one process: what a trial is by default."""

    rank = 0  # the leader's is 0
    size = 1
    idle = False  # this process has no image in the batch at hand, and only keeps the others company

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """What this process takes of them: every size-th."""
        return items[self.rank :: self.size]

    def total(self, value: float) -> float:
        """Summed over the processes."""
        return value

    def gathered(self, value: T) -> list[T]:
        """Every process's, by rank."""
        return [value]

    def told(self, state: Learned) -> Learned:
        """What the leader has."""
        return state

    def united(self, shares: Sequence[T]) -> list[T]:
        """The items whose `share` every process brings, in their order."""
        rounds = zip_longest(*self.gathered([(each,) for each in shares]))
        return [each for found in rounds for held in found if held is not None for each in held]

    def stacked(self, mine: Tensor) -> Tensor:
        """(size, *) of tensors of one shape, by rank; without gradient."""
        return mine[None]

    def united_gradients(self, module: nn.Module) -> nn.Module:
        """Called in its place, `module` leaves gradients that are averaged over the processes."""
        return module


ALONE = Team()


class Processes(Team):
    """Of several, connected by torch.distributed."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        # of their own, since statistics and gradients may come in another order where a share is void
        self._gradients = dist.new_group()

    def total(self, value: float) -> float:
        found = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(found)
        return float(found)

    def gathered(self, value: T) -> list[T]:
        found: list[T | None] = [None] * self.size
        dist.all_gather_object(found, value)
        return [each for each in found if each is not None]

    def told(self, state: Learned) -> Learned:
        file = io.BytesIO()
        if self.rank == 0:
            torch.save(state, file)
        message = [file.getvalue()]
        dist.broadcast_object_list(message, src=0)
        return state if self.rank == 0 else torch.load(io.BytesIO(message[0]), map_location="cpu", weights_only=True)

    def stacked(self, mine: Tensor) -> Tensor:
        found = mine.new_empty(self.size, *mine.shape)
        dist.all_gather([*found], mine.contiguous())
        return found

    def united_gradients(self, module: nn.Module) -> nn.Module:
        # A network may have weights that not every batch moves, and a share that is void has no own loss. One that
        # none ever moves is added, or torch would print a warning where it finds no other.
        module.register_parameter("unmoved", nn.Parameter(next(module.parameters()).new_zeros(1)))
        return DistributedDataParallel(
            module, process_group=self._gradients, forward_sync_buffers=False, find_unused_parameters=True
        )


@contextmanager
def connected(meeting: Path, rank: int, size: int) -> Iterator[Processes]:
    """Once all of them are here. meeting: a file that does not exist yet, in a folder that only the user may enter.

    They are on one machine, so they talk over its loopback interface: nobody else can listen.
    """
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    with patch.dict(os.environ, GLOO_SOCKET_IFNAME=loopback):
        cuda = torch.cuda.is_available() and dist.is_nccl_available()
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            store=dist.FileStore(str(meeting), size),  # type: ignore[attr-defined]
            rank=rank,
            world_size=size,
            timeout=PATIENCE,
        )
        try:
            team = Processes(rank, size)
        except BaseException:
            dist.destroy_process_group()
            raise
    try:
        yield team
    finally:
        dist.destroy_process_group()
