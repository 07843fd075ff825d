"""What learns: a network with its loss and all that changes its weights, and the modes they have to be in."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from segsweep.trainables.components import FollowsEpochs, HasModes, Outputs, Watchful
from segsweep.trainables.training.arithmetic import FLOAT32, Arithmetic
from segsweep.trainables.training.batch_norm import synchronise
from segsweep.trainables.training.freezing import Freezing
from segsweep.trainables.training.micro_batches import cut
from segsweep.trainables.training.team import ALONE, Team

if TYPE_CHECKING:
    from collections.abc import Generator

    from segsweep.trainables.training.batches import Batch
    from segsweep.trainables.training.checkpoint import Learned

REFRESHING = 50  # batches; what the authors of schedule-free learning advise


@dataclass
class Learner:
    model: nn.Module
    loss: nn.Module
    optimizer: Optimizer
    lr_schedule: LRScheduler
    freezing: Freezing = field(default_factory=Freezing)
    average: ModelEmaV3 | None = None  # of weights and statistics: what is scored in their place
    accumulation: int = 1  # batches whose gradients make one update
    clip_norm: float | None = None
    arithmetic: Arithmetic = FLOAT32
    team: Team = ALONE
    micro_batch: int | None = None  # images that are trained on at once; None: a batch, which memory holds
    least_batch: int = 1  # images that the network can be trained on at once
    scoring_batch: int | None = None  # images that are scored at once; None: likewise

    def __post_init__(self) -> None:
        self.scaler = self.arithmetic.scaler()
        self._cost: nn.Module = _Cost(self.model, self.loss, self.arithmetic)
        self._trained: list[bool] | None = None  # which weights, when gradients were united last

    def join(self, team: Team) -> None:
        """Learn with the others of `team` from here on, all in the state of the first."""
        self.team = team
        self.load_state_dict(team.told(self.state_dict()))
        self.micro_batch = None  # shares of different sizes would be cut into different numbers of parts
        synchronise(self.model, team)

    @property
    def scored(self) -> nn.Module:
        """The network to be scored and to predict with."""
        return self.model if self.average is None else self.average.module

    @property
    def lr(self) -> float:
        """Of the next update, before any multiplier of a part or a stage."""
        group = self.optimizer.param_groups[0]
        return float(group["lr"]) / float(group.get("lr_factor", 1.0))

    def begin(self, epoch: int) -> None:
        """To be called before an epoch (1, 2 ...) is trained, after scoring as well."""
        self.model.train()
        self.freezing.hold(epoch)
        for part in self.loss.modules():
            if isinstance(part, FollowsEpochs):
                part.begin(epoch)
        if isinstance(self.optimizer, HasModes):
            self.optimizer.train()
        if (trained := [p.requires_grad for p in self.model.parameters()]) != self._trained:
            self._cost = self.team.united_gradients(_Cost(self.model, self.loss, self.arithmetic))
            self._trained = trained

    def predict(self, images: Tensor) -> Tensor | Outputs:
        """In the precision of the trial."""
        with self.arithmetic():
            found: Tensor | Outputs = self.model(images)
        return found

    def cost(self, batch: Batch) -> Tensor:
        """The loss of one batch, as a scalar to go back from."""
        self.team.idle = not batch.indices
        found: Tensor = self._cost(batch.images, batch.labels)
        return found

    def backward(self, cost: Tensor) -> None:
        self.scaler.scale(cost).backward()  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """One step of everything, along the gradients that are there; of fp16 none along those that overflowed."""
        if self.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        with _skipped_updates_count() if self.scaler.is_enabled() else nullcontext():
            self.lr_schedule.step()
        if self.average is not None:
            self.average.update(self.model, step=self.lr_schedule.last_epoch)

    def settle(self, batches: Callable[[], Generator[Batch]]) -> None:
        """To be called before scoring or saving: puts the weights in place that are meant for it.

        batches: some of the training's. Where the optimizer exchanges the weights, BatchNorm's statistics belong to
        others, and are brought up to date by them.
        """
        if not isinstance(self.optimizer, HasModes):
            return
        self.optimizer.eval()
        if any(isinstance(module, _BatchNorm) and module.training for module in self.model.modules()):
            with torch.no_grad(), closing(batches()) as some:
                self._look_at(islice(some, REFRESHING))

    def _look_at(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self.team.idle = not batch.indices
            for part in cut(batch, self.micro_batch, self.least_batch):
                self.predict(part.images)

    def observe(self, goodness: float) -> None:
        """To be called after every epoch with the objective's value, negated where lower is better."""
        if isinstance(self.lr_schedule, Watchful):
            self.lr_schedule.observe(goodness)

    def state_dict(self) -> Learned:
        """All that exact resume needs."""
        state: Learned = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "lr_schedule": self.lr_schedule.state_dict(),
        }
        if self.average is not None:
            state["average"] = self.average.module.state_dict()
        if self.scaler.is_enabled():
            state["scaler"] = self.scaler.state_dict()
        if self.micro_batch is not None:
            state["micro_batch"] = self.micro_batch
        if self.scoring_batch is not None:
            state["scoring_batch"] = self.scoring_batch
        return state

    def load_state_dict(self, state: Learned) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.lr_schedule.load_state_dict(state["lr_schedule"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.micro_batch, self.scoring_batch = state.get("micro_batch"), state.get("scoring_batch")


class _Cost(nn.Module):
    """From images and labels to the loss, so that whoever follows the gradients sees all that they flow through."""

    def __init__(self, model: nn.Module, loss: nn.Module, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.model, self.loss, self.arithmetic = model, loss, arithmetic

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        with self.arithmetic():
            outputs: Tensor | Outputs = self.model(images)
        cost: Tensor = self.loss(outputs, labels)
        return cost


@contextmanager
def _skipped_updates_count() -> Iterator[None]:
    """The LR schedule goes by the number of updates, skipped ones too; torch warns if the first is skipped."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler\.step\(\)` before")
        yield
