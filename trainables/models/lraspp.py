"""LR-ASPP (Howard et al. 2019, Searching for MobileNetV3): a very cheap decoder for mobile encoders, as in torchvision.

The encoder's last map stays at a stride of 16 and is gated by its global average; the map at a stride of 8 adds detail.
With the default encoder 3.2 M parameters and 2.0 GMAC at 512x512. Published (torchvision, COCO with the labels of VOC):
57.9. Encoders come without weights by default; those of mit_* are licensed by NVIDIA for non-commercial use only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._smp import SmpOptions, build_encoder, family_of, problems

if TYPE_CHECKING:
    from torch import nn

OUTPUT_STRIDE = 16


class Options(SmpOptions):
    encoder: str = "tu-mobilenetv3_large_100"
    decoder_channels: PositiveInt = 128


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options)


def check(options: Options, task: Task) -> Iterable[Problem]:
    return problems(options, task, OUTPUT_STRIDE)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError, and ValueError for an unknown encoder."""
    from segsweep.trainables.models._encoder_decoder import EncoderDecoder
    from segsweep.trainables.models._lraspp import Gated, TwoScores
    from segsweep.trainables.models._sizes import AnySize

    encoder = build_encoder(options, task, OUTPUT_STRIDE)
    channels: list[int] = encoder.out_channels  # type: ignore[assignment]
    decoder = Gated(channels[-1], options.decoder_channels)
    head = TwoScores(channels[3], options.decoder_channels, task.num_classes)
    return AnySize(EncoderDecoder(encoder, decoder, head), OUTPUT_STRIDE)
