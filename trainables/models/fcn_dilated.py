"""FCN with a dilated encoder (Long et al. 2015, with the dilation of Yu and Koltun 2016), as in torchvision.

FCN-R50-D8: the encoder's last map stays at a stride of 8, one 3x3 convolution classifies it, and an auxiliary head
does so for the stage before. The FCN-32s/16s/8s of the paper are `fcn`. Published with a head of two convolutions
(mmsegmentation, single scale): Cityscapes val R50 73.61, R101 75.13; ADE20K val R50 36.10, R101 39.91; torchvision's
on COCO with the labels of VOC: R50 60.5, R101 63.7. Encoders come without weights by default; those of mit_* are
licensed by NVIDIA for non-commercial use only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._smp import SmpOptions, build_encoder, family_of, problems

if TYPE_CHECKING:
    from torch import nn


class Options(SmpOptions):
    encoder: str = "resnet50"
    output_stride: Literal[8, 16] = 8
    decoder_channels: PositiveInt | None = None  # a quarter of the encoder's last map unless given
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    auxiliary_weight: Annotated[float, Field(ge=0)] = 0.4  # mmsegmentation's; torchvision trains with 0.5


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options)


def check(options: Options, task: Task) -> Iterable[Problem]:
    return problems(options, task, options.output_stride)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError, and ValueError for an unknown encoder."""
    from segsweep.trainables.models._encoder_decoder import EncoderDecoder, OnLast, auxiliary_on, fcn_head
    from segsweep.trainables.models._sizes import AnySize

    encoder = build_encoder(options, task, options.output_stride)
    channels: int = encoder.out_channels[-1]  # type: ignore[index, assignment]
    *convolution, classifier = fcn_head(
        channels, options.decoder_channels or channels // 4, task.num_classes, options.dropout
    )
    auxiliary = auxiliary_on(encoder, task.num_classes, options.dropout)
    decoder = OnLast(*convolution)
    network = EncoderDecoder(encoder, decoder, classifier, auxiliary, options.auxiliary_weight)
    return AnySize(network, options.output_stride)
