"""U-Net (Ronneberger et al. 2015) with the encoder exchanged, in the version of segmentation_models_pytorch.

Encoders come without weights by default; those of mit_* are licensed by NVIDIA for non-commercial use only.
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
    # from the deepest stage up; halving them all makes the decoder about four times cheaper
    decoder_channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (256, 128, 64, 32, 16)
    upsampling: Upsampling = "nearest"


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options)


def check(options: Options, task: Task) -> Iterable[Problem]:
    return problems(options, task)


def build(options: Options, task: Task) -> nn.Module:
    from segsweep.trainables.models._sizes import AnySize

    decoder = {"decoder_channels": options.decoder_channels, "decoder_interpolation": options.upsampling}
    return AnySize(build_smp("Unet", options, task, **decoder), STRIDE)
