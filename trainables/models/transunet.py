"""TransUNet (Chen et al. 2021): a ResNet-50 whose last maps a vision transformer takes, and a U-Net decoder. Own code.

The encoder is timm's hybrid R50 + ViT-B/16 (weights: ImageNet-21k, Apache 2.0), the decoder the paper's cascaded
upsampler with skips at 1/8, 1/4 and 1/2. 105.3 million parameters, as published; 29.3 GMAC at 224x224, where often 24.7
are told, without the ResNet.
Synapse multi-organ CT: mean Dice 77.48 % (paper, as later ones quote it).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._timm_vit import TimmOptions, weights_problems

if TYPE_CHECKING:
    from torch import nn

STRIDE = 16


class Options(TimmOptions):
    most_stages = 4

    encoder: Literal["vit_base_r50_s16_224", "vit_base_r50_s16_384"] = "vit_base_r50_s16_224"
    layers: Annotated[int, Field(ge=1, le=12)] = 12  # of the transformer, the first of its 12


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return "transformer"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return weights_problems(options)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from segsweep.trainables.models._norms import lenient
    from segsweep.trainables.models._sizes import AnySize
    from segsweep.trainables.models._transunet import HybridEncoder, TransUNet

    hybrid = HybridEncoder(options.encoder, options.encoder_weights, task.in_channels, options.layers)
    return AnySize(lenient(TransUNet(hybrid, task.num_classes)), STRIDE)
