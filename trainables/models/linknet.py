"""LinkNet (Chaurasia and Culurciello 2017): a U-Net that adds skips instead of stacking them; cheap. Version of SMP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._smp import STRIDE, SmpOptions, build_smp, family_of, problems

if TYPE_CHECKING:
    from torch import nn


class Options(SmpOptions):
    pass


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options)


def check(options: Options, task: Task) -> Iterator[Problem]:
    yield from problems(options, task)
    if options.encoder.startswith("mit_"):
        yield Problem("encoder", "linknet of SMP takes no mit_* encoder; use unet or fpn with it, or a pvt_v2 of timm")


def build(options: Options, task: Task) -> nn.Module:
    from segsweep.trainables.models._sizes import AnySize

    return AnySize(build_smp("Linknet", options, task), STRIDE)
