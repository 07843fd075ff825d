"""FCN-32s, FCN-16s and FCN-8s (Long et al. 2015, Fully Convolutional Networks for Semantic Segmentation).

A 1x1 convolution scores the encoder's maps of stride 32, 16 and 8; coarse scores are upsampled by transposed
convolutions that begin as bilinear interpolation and are learned, skips begin at zero, the last upsampling is fixed.
The paper's VGG16 keeps its fully connected layers as convolutions of 4,096 channels; here any encoder ends with its
last stage. Encoders come without weights by default; those of mit_* are licensed by NVIDIA for non-commercial use
only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._smp import STRIDE, SmpOptions, build_encoder, family_of, problems

if TYPE_CHECKING:
    from torch import nn


class Options(SmpOptions):
    stride: Literal[32, 16, 8] = 8  # of the finest scores: FCN-32s, FCN-16s or FCN-8s


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options)


def check(options: Options, task: Task) -> Iterable[Problem]:
    return problems(options, task)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError, and ValueError for an unknown encoder."""
    from torch import nn

    from segsweep.trainables.models._encoder_decoder import EncoderDecoder
    from segsweep.trainables.models._sizes import AnySize
    from segsweep.trainables.models._skip_scores import SkipScores

    encoder = build_encoder(options, task)
    maps = {32: 1, 16: 2, 8: 3}[options.stride]
    channels: list[int] = encoder.out_channels  # type: ignore[assignment]
    head = SkipScores(channels[-maps:][::-1], task.num_classes)
    return AnySize(EncoderDecoder(encoder, nn.Identity(), head), STRIDE)
