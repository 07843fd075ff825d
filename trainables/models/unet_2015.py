"""The U-Net of 2015 (Ronneberger et al.): its own encoder from scratch, 64 to 1024 channels, 31 M parameters.

Convolutions are padded, where the paper's shrink the image; BatchNorm, which it had not, can be left out. `unet` is the
version with the encoder exchanged. Published for a U-Net of this shape (mmsegmentation, UNet-S5-D16, 160,000
iterations): Cityscapes val 69.10.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.model_options import ModelOptions

if TYPE_CHECKING:
    from torch import nn


class Options(ModelOptions):
    most_stages = 5

    width: PositiveInt = 64  # channels at full resolution; each of the four halvings doubles them
    batch_norm: bool = True
    upsampling: Literal["transposed", "bilinear", "nearest"] = "transposed"  # the latter two with a 1x1 convolution
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5  # at the end of the encoder


def encoder(options: Options) -> str:
    return f"width{options.width}"


def family(options: Options) -> Family:
    return "cnn"


def check(options: Options, task: Task) -> Iterable[Problem]:
    """Any size fits, and a batch of one trains."""
    return ()


def build(options: Options, task: Task) -> nn.Module:
    from torch import nn

    from segsweep.trainables.models._encoder_decoder import EncoderDecoder
    from segsweep.trainables.models._sizes import AnySize
    from segsweep.trainables.models._unet_2015 import DEPTH, Decoder, Encoder

    network = EncoderDecoder(
        Encoder(task.in_channels, options.width, options.batch_norm, options.dropout),
        Decoder(options.width, options.batch_norm, options.upsampling),
        nn.Conv2d(options.width, task.num_classes, 1),
    )
    for module in network.modules():  # the paper's section 3, without which it does not train without BatchNorm
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return AnySize(network, 2**DEPTH)
