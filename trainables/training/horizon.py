"""Whether training may simply go on when its number of epochs is raised."""

from __future__ import annotations

from segsweep.trainables.catalog import LR_SCHEDULES
from segsweep.trainables.config import Entry

STEPS_PER_EPOCH = 8  # of the comparison: enough to see any curve


def same_course(lr_schedule: Entry, epochs: int, more: int) -> bool:
    """True if `epochs` epochs of the LR schedule are the same as the first ones of `more`.

    Of a constant lr they are; a cosine that has come to its end after `epochs` was another one all along.
    """
    return _course(lr_schedule, epochs, epochs) == _course(lr_schedule, more, epochs)


def _course(lr_schedule: Entry, epochs: int, looked_at: int) -> list[float]:
    """The factors on lr of the first `looked_at` epochs of `epochs`."""
    import torch

    component = LR_SCHEDULES.get(lr_schedule.type)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    options = component.Options.model_validate(lr_schedule.options)
    schedule = component.build(options, optimizer, STEPS_PER_EPOCH, epochs)
    factors: list[float] = []
    for _ in range(looked_at * STEPS_PER_EPOCH):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return factors
