"""DeepLabv3 (Chen et al. 2017, Rethinking Atrous Convolution): parallel dilated convolutions on a dilated encoder.

Version of SMP; dilation rates 12, 24, 36 at a stride of 8 and half of them at 16, as the paper has them. At a stride of
8 it costs about four times DeepLabv3+ with the same encoder. Published with R50 at a stride of 8, Cityscapes val by
mmsegmentation: see deeplabv3plus, which is about as good and cheaper; BDD100K drivable 84.63 (R50), 85.15 (R101).
Encoders come without weights by default; those of mit_* are licensed by NVIDIA for non-commercial use only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._smp import SmpOptions, build_smp, family_of, problems

if TYPE_CHECKING:
    from torch import nn


class Options(SmpOptions):
    output_stride: Literal[8, 16] = 8  # of the encoder's last map; 16 is about three times cheaper
    decoder_channels: PositiveInt = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5  # after the parallel convolutions
    auxiliary_weight: Annotated[float, Field(ge=0)] = 0.0  # of an FCN head on the stage before; mmsegmentation has 0.4


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options)


def check(options: Options, task: Task) -> Iterable[Problem]:
    return problems(options, task, options.output_stride)


def build(options: Options, task: Task) -> nn.Module:
    from segsweep.trainables.models._encoder_decoder import with_auxiliary
    from segsweep.trainables.models._sizes import AnySize

    rates = (12, 24, 36) if options.output_stride == 8 else (6, 12, 18)
    network = build_smp(
        "DeepLabV3",
        options,
        task,
        encoder_output_stride=options.output_stride,
        decoder_channels=options.decoder_channels,
        decoder_atrous_rates=rates,
        decoder_aspp_dropout=options.dropout,
    )
    return AnySize(with_auxiliary(network, task.num_classes, options.auxiliary_weight), options.output_stride)
