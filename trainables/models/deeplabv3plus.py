"""DeepLabv3+ (Chen et al. 2018): DeepLabv3 with separable convolutions and a decoder that adds detail at stride 4.

Version of SMP; dilation rates 6, 12, 18 at a stride of 16 (the paper's) and twice that at 8 (mmsegmentation's).
Published at a stride of 8 (mmsegmentation, single scale): Cityscapes val R50 80.09, R101 80.97; ADE20K val R50 43.95,
R101 45.47. Encoders come without weights by default; those of mit_* are licensed by NVIDIA for non-commercial use only.
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
    output_stride: Literal[8, 16] = 16  # of the encoder's last map
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
        "DeepLabV3Plus",
        options,
        task,
        encoder_output_stride=options.output_stride,
        decoder_channels=options.decoder_channels,
        decoder_atrous_rates=rates,
        decoder_aspp_dropout=options.dropout,
    )
    return AnySize(with_auxiliary(network, task.num_classes, options.auxiliary_weight), options.output_stride)
