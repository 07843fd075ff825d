"""UPerNet (Xiao et al. 2018): pyramid pooling on the last map of the encoder, then a feature pyramid. Version of SMP.

The usual decoder for Swin and ConvNeXt. SMP's has 256 channels (37 M with R50); mmsegmentation's has 512. Published
with 512 (mmsegmentation, single scale): Cityscapes val R50 78.19, R101 79.40; ADE20K val R50 42.05, R101 43.82.
Encoders come without weights by default; those of mit_* are licensed by NVIDIA for non-commercial use only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._smp import STRIDE, SmpOptions, build_smp, family_of, problems

if TYPE_CHECKING:
    from torch import nn


class Options(SmpOptions):
    decoder_channels: PositiveInt = 256
    auxiliary_weight: Annotated[float, Field(ge=0)] = 0.0  # of an FCN head at stride 16; mmsegmentation has 0.4


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options)


def check(options: Options, task: Task) -> Iterable[Problem]:
    return problems(options, task)


def build(options: Options, task: Task) -> nn.Module:
    from segsweep.trainables.models._encoder_decoder import with_auxiliary
    from segsweep.trainables.models._sizes import AnySize

    network = build_smp("UPerNet", options, task, decoder_channels=options.decoder_channels)
    return AnySize(with_auxiliary(network, task.num_classes, options.auxiliary_weight), STRIDE)
