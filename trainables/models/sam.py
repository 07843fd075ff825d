"""The image encoder of Segment Anything (Kirillov et al. 2023) or SAM 2 (Ravi et al. 2024) below a light head.

Prompts and mask decoder are left out; own code adds a 1x1 convolution for every map of the encoder, their sum over the
finest one, and a classifier; SAM's single scale is doubled twice by transposed convolutions, as its mask decoder does.
It is about its weights, of timm: samvit_*, sam2_hiera_* (Apache 2.0). Nobody publishes such a network's score.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._timm_vit import TimmOptions, weights_problems

if TYPE_CHECKING:
    from torch import nn


class Options(TimmOptions):
    encoder: Literal[
        "samvit_base_patch16",
        "samvit_large_patch16",
        "samvit_huge_patch16",
        "sam2_hiera_tiny",
        "sam2_hiera_small",
        "sam2_hiera_base_plus",
        "sam2_hiera_large",
    ] = "sam2_hiera_tiny"
    decoder_width: PositiveInt = 256


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return "transformer"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return weights_problems(options)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from segsweep.trainables.models._norms import lenient
    from segsweep.trainables.models._sam import SamEncoder, SemanticSam
    from segsweep.trainables.models._sizes import AnySize

    encoder = SamEncoder(options.encoder, options.encoder_weights, task.in_channels)
    network = SemanticSam(encoder, options.decoder_width, task.num_classes)
    return AnySize(lenient(network), 16 if encoder.single_scale else 32)
