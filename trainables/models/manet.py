"""MA-Net (Fan et al. 2020): a U-Net that attends over positions at its bottom and over channels in its skips.

Version of SMP. Attention over positions takes memory with the square of the pixels at stride 32. Encoders come without
weights by default; those of mit_* are licensed by NVIDIA for non-commercial use only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._smp import STRIDE, SmpOptions, Upsampling, build_smp, family_of, problems

if TYPE_CHECKING:
    from torch import nn


class Options(SmpOptions):
    # from the deepest stage up
    decoder_channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (256, 128, 64, 32, 16)
    attention_channels: PositiveInt = 64  # of keys and queries of the attention over positions
    upsampling: Upsampling = "nearest"


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options)


def check(options: Options, task: Task) -> Iterable[Problem]:
    return problems(options, task)


def build(options: Options, task: Task) -> nn.Module:
    from segsweep.trainables.models._sizes import AnySize

    network = build_smp(
        "MAnet",
        options,
        task,
        decoder_channels=options.decoder_channels,
        decoder_pab_channels=options.attention_channels,
        decoder_interpolation=options.upsampling,
    )
    return AnySize(network, STRIDE)
