"""DDRNet (Hong et al. 2021, Deep Dual-resolution Networks): one branch stays at a stride of 8, one goes down to 64.

23-slim has 5.7 M parameters, 23 has 20.1 M (36.3 and 143.1 GMAC at 2048x1024). An auxiliary head on the fine branch
while training, as in the paper. From scratch here. Published, with ImageNet pretraining: 23-slim Cityscapes test 77.4,
CamVid test 74.7 (paper), Cityscapes val 77.84, 23 79.99 (mmsegmentation, 120,000 iterations, single scale).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.model_options import ModelOptions

if TYPE_CHECKING:
    from torch import nn


class Options(ModelOptions):
    most_stages = 3

    variant: Literal["23-slim", "23"] = "23-slim"
    auxiliary_weight: Annotated[float, Field(ge=0)] = 0.4


def encoder(options: Options) -> str:
    return options.variant


def family(options: Options) -> Family:
    return "cnn"


def check(options: Options, task: Task) -> Iterable[Problem]:
    """Any size fits, and a batch of one trains."""
    return ()


def build(options: Options, task: Task) -> nn.Module:
    from segsweep.trainables.models._ddrnet import STRIDE, Decoder, Encoder, preactivated_head
    from segsweep.trainables.models._encoder_decoder import EncoderDecoder
    from segsweep.trainables.models._sizes import AnySize

    width, head_channels = {"23-slim": (32, 64), "23": (64, 128)}[options.variant]
    network = EncoderDecoder(
        Encoder(task.in_channels, width),
        Decoder(16 * width, 4 * width),
        preactivated_head(4 * width, head_channels, task.num_classes),
        {0: preactivated_head(2 * width, head_channels, task.num_classes)},
        options.auxiliary_weight,
    )
    return AnySize(network, STRIDE)
