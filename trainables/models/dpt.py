"""DPT (Ranftl et al. 2021, Vision Transformers for Dense Prediction) on plain ViTs of timm, version of SMP.

Four blocks of the ViT are brought to strides 4 to 32 and fused. Any image size: images are padded to multiples of 32,
positions interpolated. Weights of timm name their licences on their pages of the Hugging Face hub (DINOv3 has one of
its own, some are non-commercial).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models import _encoders as encoders
from segsweep.trainables.models._smp import STRIDE, SmpOptions, assemble, freeze_unused, weights_problems

if TYPE_CHECKING:
    from torch import nn


class Options(SmpOptions):
    encoder: str = "tu-deit_tiny_patch16_224"  # a ViT of timm at patches of 8, 16 or 32 px
    readout: Literal["cat", "add", "ignore"] | None = None  # what becomes of the class token; cat where there is one
    # of the four stages, and what they are fused in
    reassemble_channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (256, 512, 1024, 1024)
    decoder_channels: PositiveInt = 256


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return "transformer"


def check(options: Options, task: Task) -> Iterator[Problem]:
    found = encoders.find_vit(options.encoder)
    if found is None:
        yield Problem("encoder", encoders.unknown_vit(options.encoder))
        return
    yield from weights_problems(options, found)
    if options.readout in ("cat", "add") and not found.tokens:
        yield Problem("readout", f"{found.name} has no class token to {options.readout}; give ignore, or leave it out")


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError, and ValueError for an unknown encoder."""
    from segsweep.trainables.models._sizes import AnySize

    found = encoders.find_vit(options.encoder)
    if found is None:
        raise ValueError(encoders.unknown_vit(options.encoder))
    network = assemble(
        "DPT",
        options,
        task,
        decoder_readout=options.readout or ("cat" if found.tokens else "ignore"),
        decoder_intermediate_channels=options.reassemble_channels,
        decoder_fusion_channels=options.decoder_channels,
        dynamic_img_size=True,
    )
    return AnySize(freeze_unused(network, task), STRIDE)
