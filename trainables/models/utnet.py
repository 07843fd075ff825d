"""UTNet (Gao et al. 2021): a residual U-Net with attention of linear cost at every scale but the finest. Own code.

Keys and values are reduced to a grid of `reduced` x `reduced` before the attention; in the decoder the finer map asks
and the coarser one answers. Four heads at every scale, maxima between them, as the authors' repository trains it
(yhygao/UTNet, train_deep.py), without its auxiliary heads: 10.0 M parameters. There are no published weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.model_options import ModelOptions

if TYPE_CHECKING:
    from torch import nn

STRIDE = 16


class Options(ModelOptions):
    most_stages = 5

    encoder: Literal["utnet"] = "utnet"
    width: Annotated[int, Field(ge=8, multiple_of=8)] = 32  # of the finest scale; the coarsest has 16 times as much
    reduced: PositiveInt = 8  # tokens of keys and values on each side


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return "transformer"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return ()


def build(options: Options, task: Task) -> nn.Module:
    from segsweep.trainables.models._norms import lenient
    from segsweep.trainables.models._sizes import AnySize
    from segsweep.trainables.models._utnet import UTNet

    return AnySize(lenient(UTNet(task.in_channels, options.width, options.reduced, task.num_classes)), STRIDE)
