"""U-Net++ (Zhou et al. 2018): a U-Net with nested skips, at more than twice its work. Version of SMP.

One head, without the paper's deep supervision. Encoders come without weights by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._smp import STRIDE, SmpOptions, Upsampling, build_smp, family_of, problems

if TYPE_CHECKING:
    from torch import nn


class Options(SmpOptions):
    # from the deepest stage up
    decoder_channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (256, 128, 64, 32, 16)
    upsampling: Upsampling = "nearest"


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options)


def check(options: Options, task: Task) -> Iterator[Problem]:
    yield from problems(options, task)
    if options.encoder.startswith("mit_"):
        yield Problem(
            "encoder", "U-Net++ of SMP takes no mit_* encoder; use unet or manet with it, or a pvt_v2 of timm"
        )


def build(options: Options, task: Task) -> nn.Module:
    from segsweep.trainables.models._sizes import AnySize

    decoder = {"decoder_channels": options.decoder_channels, "decoder_interpolation": options.upsampling}
    return AnySize(build_smp("UnetPlusPlus", options, task, **decoder), STRIDE)
