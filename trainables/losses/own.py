"""The loss that a model brings itself, such as the set matching of mask2former, maskformer, oneformer and eomt.

These models train with it and nothing else: they take `own` in place of the sweep's `losses`, and no other model takes
it. Where there is no training there is no own loss: `val_loss` is then the cross entropy of the logits. Own code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from segsweep.trainables.components import ComponentOptions, LossContext, Problem, Task
from segsweep.trainables.losses import cross_entropy

if TYPE_CHECKING:
    from torch import nn


class Options(ComponentOptions): ...


def check(options: Options, task: Task) -> Iterable[Problem]:
    return cross_entropy.check(cross_entropy.Options(), task)


def build(options: Options, context: LossContext) -> nn.Module:
    return cross_entropy.build(cross_entropy.Options(), context)
