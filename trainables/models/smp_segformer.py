"""The decoder of SegFormer (Xie et al. 2021: linear layers only) on any encoder, version of SMP.

SMP's decoder has 256 channels for every encoder; the paper's has 768 from mit_b2 on (mit_b3: 79 GMAC at 512x512, not
42), which `segformer` has by default. Encoders come without weights by default; those of mit_* are licensed by NVIDIA
for non-commercial use only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._smp import STRIDE, SmpOptions, build_smp, family_of, problems

if TYPE_CHECKING:
    from torch import nn


class Options(SmpOptions):
    encoder: str = "mit_b0"
    decoder_width: PositiveInt = 256


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options)


def check(options: Options, task: Task) -> Iterable[Problem]:
    return problems(options, task)


def build(options: Options, task: Task) -> nn.Module:
    from segsweep.trainables.models._sizes import AnySize

    network = build_smp("Segformer", options, task, decoder_segmentation_channels=options.decoder_width)
    return AnySize(network, STRIDE)
