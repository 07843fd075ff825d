"""Soft Dice loss over the classes of the batch (Milletari et al. 2016, with plain instead of squared denominators).

One Dice coefficient per class over all labelled pixels of the batch; the loss is 1 minus their mean, in which class
weights weigh the classes, not their pixels. Own code, see _regions.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from segsweep.trainables.components import LossContext, Problem, Task
from segsweep.trainables.losses._regions import IndexOptions, check_region, index_loss, tversky_index

if TYPE_CHECKING:
    from torch import nn


class Options(IndexOptions): ...


def check(options: Options, task: Task) -> Iterable[Problem]:
    return check_region(options, task)


def build(options: Options, context: LossContext) -> nn.Module:
    # (2 hits + s) / (predicted + actual + s), halved above and below
    return index_loss(options, context, tversky_index(0.5, 0.5, options.smooth / 2))
