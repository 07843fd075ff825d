"""A cheap relative of PSPNet (Zhao et al. 2017), version of SMP: pyramid pooling at a stride of 8 of a shallow encoder.

Not the paper's network, which is `pspnet`: the encoder ends after its third halving and is not dilated, and there is no
auxiliary head. With R50, 12 GMAC at 512x512 in place of about 180. The stages that are left out stay in memory and in
checkpoints (most of the parameters), but are not trained. Encoders come without weights by default; those of mit_* are
licensed by NVIDIA for non-commercial use only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._smp import SmpOptions, build_smp, family_of, freeze_unused, problems

if TYPE_CHECKING:
    from torch import nn

DEPTH = 3


class Options(SmpOptions):
    decoder_channels: PositiveInt = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2  # of whole channels, before the classifier


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options)


def check(options: Options, task: Task) -> Iterable[Problem]:
    return problems(options, task)


def build(options: Options, task: Task) -> nn.Module:
    from segsweep.trainables.models._sizes import AnySize

    network = build_smp(
        "PSPNet",
        options,
        task,
        encoder_depth=DEPTH,
        psp_out_channels=options.decoder_channels,
        psp_dropout=options.dropout,
        upsampling=2**DEPTH,
    )
    return AnySize(freeze_unused(network, task), 2**DEPTH)
