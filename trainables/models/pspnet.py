"""PSPNet (Zhao et al. 2017, Pyramid Scene Parsing Network): pyramid pooling on a dilated encoder, an auxiliary head.

The paper's network: the encoder's last map stays at a stride of 8, its averages over 1, 4, 9 and 36 cells are added to
it. `smp_pspnet` is a far cheaper relative. Published (mmsegmentation, single scale): Cityscapes val R50 78.55, R101
79.76, R18 74.87; ADE20K val R50 42.48, R101 44.39. Encoders come without weights by default; those of mit_* are
licensed by NVIDIA for non-commercial use only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._smp import SmpOptions, build_encoder, family_of, problems

if TYPE_CHECKING:
    from torch import nn


class Options(SmpOptions):
    encoder: str = "resnet50"
    output_stride: Literal[8, 16] = 8
    decoder_channels: PositiveInt = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    auxiliary_weight: Annotated[float, Field(ge=0)] = 0.4  # of the head on the stage before the last


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options)


def check(options: Options, task: Task) -> Iterable[Problem]:
    return problems(options, task, options.output_stride)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError, and ValueError for an unknown encoder."""
    from torch import nn

    from segsweep.trainables.models._blocks import conv
    from segsweep.trainables.models._encoder_decoder import EncoderDecoder, OnLast, auxiliary_on
    from segsweep.trainables.models._pyramid import BINS, PyramidPooling
    from segsweep.trainables.models._sizes import AnySize

    encoder = build_encoder(options, task, options.output_stride)
    channels: int = encoder.out_channels[-1]  # type: ignore[index, assignment]
    share = channels // len(BINS)
    decoder = OnLast(
        PyramidPooling(channels, share),
        conv(channels + len(BINS) * share, options.decoder_channels),
        nn.Dropout(options.dropout),
    )
    head = nn.Conv2d(options.decoder_channels, task.num_classes, 1)
    auxiliary = auxiliary_on(encoder, task.num_classes, options.dropout)
    return AnySize(EncoderDecoder(encoder, decoder, head, auxiliary, options.auxiliary_weight), options.output_stride)
