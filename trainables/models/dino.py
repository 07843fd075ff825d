"""Features of DINOv2 (Oquab et al. 2024) or DINOv3 (Simeoni et al. 2025) below a linear or a UPerNet head. Own code.

It is about its weights, of timm: vit_*_dinov2 (Apache 2.0), vit_*_dinov3 (Meta's DINOv3 licence, which has conditions).
The papers' linear figures are of frozen encoders: `freeze: {parts: [encoder]}`. ADE20K val mIoU so: DINOv2 S 47.2,
B 51.3, L 53.1, g 53.0 (its model card: four layers' features, several scales), DINOv3 L 54.9 (its model card).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._timm_vit import TimmOptions, weights_problems

if TYPE_CHECKING:
    from torch import Tensor, nn


class Options(TimmOptions):
    most_stages = 4

    encoder: Literal[
        "vit_small_patch14_dinov2",
        "vit_base_patch14_dinov2",
        "vit_large_patch14_dinov2",
        "vit_giant_patch14_dinov2",
        "vit_small_patch14_reg4_dinov2",
        "vit_base_patch14_reg4_dinov2",
        "vit_large_patch14_reg4_dinov2",
        "vit_giant_patch14_reg4_dinov2",
        "vit_small_patch16_dinov3",
        "vit_small_plus_patch16_dinov3",
        "vit_base_patch16_dinov3",
        "vit_large_patch16_dinov3",
        "vit_huge_plus_patch16_dinov3",
    ] = "vit_small_patch14_dinov2"
    head: Literal["linear", "upernet"] = "linear"
    decoder_width: PositiveInt = 512  # of UPerNet


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return "transformer"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return weights_problems(options)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from torch import nn

    from segsweep.trainables.models._norms import lenient
    from segsweep.trainables.models._sizes import AnySize
    from segsweep.trainables.models._vit_maps import FeatureMaps
    from segsweep.trainables.models._vit_upernet import VitUPerNet

    patch = 14 if "_patch14_" in options.encoder else 16

    class Dino(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = FeatureMaps(options.encoder, options.encoder_weights, task.in_channels)
            width = self.encoder.width
            if options.head == "upernet":
                self.decoder = VitUPerNet(width, options.decoder_width, task.num_classes)
            else:  # the norm takes the place of scaling features, whose sizes differ between channels
                self.head = nn.Sequential(nn.BatchNorm2d(width), nn.Conv2d(width, task.num_classes, kernel_size=1))

        def forward(self, images: Tensor) -> Tensor:
            maps = self.encoder(images)
            logits: Tensor = self.decoder(maps) if options.head == "upernet" else self.head(maps[-1])
            return logits

    return AnySize(lenient(Dino()), 2 * patch if options.head == "upernet" else patch)
