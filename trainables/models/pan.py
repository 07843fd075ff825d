"""Pyramid attention network (Li et al. 2018), version of SMP: a U-shaped attention over the last map, then gated skips.

Images are padded to at least 8 pixels at the coarsest map (128 px at a stride of 16), since it is halved three times.
Encoders come without weights by default; those of mit_* are licensed by NVIDIA for non-commercial use only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._smp import SmpOptions, Upsampling, build_smp, family_of, problems

if TYPE_CHECKING:
    from torch import nn


class Options(SmpOptions):
    output_stride: Literal[16, 32] = 16  # 32 takes encoders that cannot be dilated, too
    decoder_channels: PositiveInt = 32
    upsampling: Upsampling = "bilinear"


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options)


def check(options: Options, task: Task) -> Iterable[Problem]:
    return problems(options, task, options.output_stride)


def build(options: Options, task: Task) -> nn.Module:
    from segsweep.trainables.models._sizes import AnySize

    network = build_smp(
        "PAN",
        options,
        task,
        encoder_output_stride=options.output_stride,
        decoder_channels=options.decoder_channels,
        decoder_interpolation=options.upsampling,
    )
    return AnySize(network, options.output_stride, least=8 * options.output_stride)
