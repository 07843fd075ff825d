"""Soft Jaccard (IoU) loss over the classes of the batch (Rahman and Wang 2016): 1 - intersection over union.

One soft IoU per class over all labelled pixels of the batch, then their mean as in dice; the paper has one class. Own
code, see _regions.py.
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
    return index_loss(options, context, tversky_index(1, 1, options.smooth))
