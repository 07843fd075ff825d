"""Feature pyramid network for segmentation (Kirillov et al. 2017, slides; Lin et al. 2017), version of SMP.

Encoders come without weights by default; those of mit_* are licensed by NVIDIA for non-commercial use only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._smp import STRIDE, SmpOptions, Upsampling, build_smp, family_of, problems

if TYPE_CHECKING:
    from torch import nn

GROUPS = 32  # of SMP's GroupNorm; so many channels make one a group


class Options(SmpOptions):
    pyramid_channels: PositiveInt = 256
    segmentation_channels: Annotated[int, Field(gt=0, multiple_of=32)] = 128  # GroupNorm of 32 groups
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2  # of whole channels, before the classifier
    upsampling: Upsampling = "nearest"  # of the pyramid; the segmentation branches are always bilinear


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options)


def check(options: Options, task: Task) -> Iterable[Problem]:
    found = list(problems(options, task))
    yield from found
    if not found and options.segmentation_channels == GROUPS and max(task.image_size) <= STRIDE:
        height, width = task.image_size
        message = f"{GROUPS} at image_size {height}x{width} leave GroupNorm a single value per group"
        yield Problem("segmentation_channels", f"{message}; give more than {GROUPS}, or more than {STRIDE} px")


def build(options: Options, task: Task) -> nn.Module:
    from segsweep.trainables.models._sizes import AnySize

    network = build_smp(
        "FPN",
        options,
        task,
        decoder_pyramid_channels=options.pyramid_channels,
        decoder_segmentation_channels=options.segmentation_channels,
        decoder_dropout=options.dropout,
        decoder_interpolation=options.upsampling,
    )
    return AnySize(network, STRIDE)
