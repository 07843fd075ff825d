"""Segmenter (Strudel et al. 2021): a plain vision transformer, and a linear or a mask transformer decoder. Own code.

The mask transformer lets an embedding of every class look at the patches; a class's mask is its product with them.
timm's weights of the encoders: ImageNet-21k, augreg (Apache 2.0).
ADE20K val mIoU, mask decoder (mmsegmentation): T 39.99, S 46.19 (linear 45.75), B 49.60, L 52.16 at 640 px.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._timm_vit import TimmOptions, weights_problems

if TYPE_CHECKING:
    from torch import Tensor, nn

PATCH = 16


class Options(TimmOptions):
    most_stages = 4

    encoder: Literal[
        "vit_tiny_patch16_384", "vit_small_patch16_384", "vit_base_patch16_384", "vit_large_patch16_384"
    ] = "vit_small_patch16_384"
    decoder: Literal["linear", "mask"] = "mask"
    decoder_layers: PositiveInt = 2  # of the mask transformer
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0  # stochastic depth of the mask transformer


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return "transformer"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return weights_problems(options)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from torch import nn

    from segsweep.trainables.models._mask_transformer import MaskTransformer
    from segsweep.trainables.models._sizes import AnySize
    from segsweep.trainables.models._vit_maps import FeatureMaps

    class Segmenter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = FeatureMaps(options.encoder, options.encoder_weights, task.in_channels)
            width = self.encoder.width
            if options.decoder == "linear":
                self.head: nn.Module = nn.Conv2d(width, task.num_classes, kernel_size=1)
            else:
                self.decoder = MaskTransformer(width, options.decoder_layers, task.num_classes, options.drop_path)

        def forward(self, images: Tensor) -> Tensor:
            *_, last = self.encoder(images)
            logits: Tensor = (self.head if options.decoder == "linear" else self.decoder)(last)
            return logits

    return AnySize(Segmenter(), PATCH)
