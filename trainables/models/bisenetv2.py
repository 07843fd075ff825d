"""BiSeNet V2 (Yu et al. 2021): a wide shallow branch for detail, a narrow deep one for meaning; from scratch.

Auxiliary heads on four depths of the deep branch while training (the paper's boosters, each with weight 1). 3.4 M
parameters without them, 24.6 GMAC at 1024x512 with the head of 1,024 channels, which takes 9.7 of them. Published:
Cityscapes test 72.6 (paper), val 73.21 (mmsegmentation, crops of 1024x1024, single scale).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.model_options import ModelOptions

if TYPE_CHECKING:
    from torch import nn


class Options(ModelOptions):
    most_stages = 6

    head_channels: PositiveInt = 1024  # the paper's large version of the head
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    auxiliary_weight: Annotated[float, Field(ge=0)] = 1.0  # of each auxiliary head


def encoder(options: Options) -> str:
    return "bisenetv2"


def family(options: Options) -> Family:
    return "cnn"


def check(options: Options, task: Task) -> Iterable[Problem]:
    """Any size fits, and a batch of one trains."""
    return ()


def build(options: Options, task: Task) -> nn.Module:
    from segsweep.trainables.models._bisenetv2 import CHANNELS, SEMANTIC, STRIDE, Aggregation, Encoder
    from segsweep.trainables.models._encoder_decoder import EncoderDecoder, fcn_head
    from segsweep.trainables.models._sizes import AnySize

    sizes = enumerate(SEMANTIC)
    auxiliary = {at: fcn_head(channels, 128, task.num_classes, options.dropout) for at, channels in sizes}
    head = fcn_head(CHANNELS, options.head_channels, task.num_classes, options.dropout)
    network = EncoderDecoder(Encoder(task.in_channels), Aggregation(), head, auxiliary, options.auxiliary_weight)
    return AnySize(network, STRIDE)
