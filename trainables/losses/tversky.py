"""Tversky loss (Salehi et al. 2017, arXiv:1706.05721): Dice whose false positives and negatives weigh differently.

The paper calls the two weights alpha and beta, later papers the other way round; so they have words here. The paper
has one class and its background, here the mean is over classes as in dice. Own code, see _regions.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import LossContext, Problem, Task
from segsweep.trainables.losses._regions import IndexOptions, check_region, index_loss, tversky_index

if TYPE_CHECKING:
    from torch import nn


class Options(IndexOptions):
    false_positives: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.3  # the paper's best pair; 0.5 each: Dice
    false_negatives: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.7  # more of it finds more, less surely


def check(options: Options, task: Task) -> Iterable[Problem]:
    return check_region(options, task)


def build(options: Options, context: LossContext) -> nn.Module:
    index = tversky_index(options.false_positives, options.false_negatives, options.smooth)
    return index_loss(options, context, index)
