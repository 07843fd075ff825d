"""Encoder and decoder of TransUNet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segsweep.trainables.models._timm_vit import timm_model

BRIDGE = 512
SKIPS = (512, 256, 64, 0)  # channels of the ResNet's maps at 1/8, 1/4 and 1/2; none at 1/1
WIDTHS = (256, 128, 64, 16)


class HybridEncoder(nn.Module):
    """Images to maps at 1/2, 1/4, 1/8 of the ResNet and at 1/16 of the transformer behind it."""

    def __init__(self, name: str, weights: str, in_channels: int, layers: int) -> None:
        super().__init__()
        depth = {"depth": layers} if weights == "none" else {}  # weights are those of all layers
        vit = timm_model(name, weights, in_chans=in_channels, dynamic_img_size=True, global_pool="", **depth)
        vit.blocks = vit.blocks[:layers]
        self.vit = vit
        self.width: int = vit.embed_dim

    def forward(self, images: Tensor) -> list[Tensor]:
        resnet = self.vit.patch_embed.backbone
        halved = resnet.stem.norm(resnet.stem.conv(images))
        maps = [halved]
        features = resnet.stem.pool(halved)
        for stage in resnet.stages:
            features = stage(features)
            maps.append(features)
        patches = self.vit.patch_embed.proj(maps.pop()).permute(0, 2, 3, 1)
        tokens = self.vit.norm(self.vit.blocks(self.vit._pos_embed(patches)))[:, self.vit.num_prefix_tokens :]
        return [*maps, tokens.mT.unflatten(2, patches.shape[1:3])]


class TransUNet(nn.Module):
    def __init__(self, encoder: HybridEncoder, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        inputs = (BRIDGE, *WIDTHS[:-1])
        blocks = (_convolutions(i + s, o, o) for i, s, o in zip(inputs, SKIPS, WIDTHS, strict=True))
        self.decoder: Any = nn.ModuleDict(
            {"bridge": _convolutions(encoder.width, BRIDGE), "blocks": nn.ModuleList(blocks)}
        )
        self.head = nn.Conv2d(WIDTHS[-1], num_classes, kernel_size=3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        *skips, last = self.encoder(images)
        features = self.decoder["bridge"](last)
        for block, skip in zip(self.decoder["blocks"], [*reversed(skips), None], strict=True):
            features = F.interpolate(features, scale_factor=2, mode="bilinear")
            features = block(features if skip is None else torch.cat([features, skip], dim=1))
        logits: Tensor = self.head(features)
        return logits


def _convolutions(inputs: int, *outputs: int) -> nn.Sequential:
    """3x3 convolutions, each with BatchNorm and ReLU."""
    layers: list[nn.Module] = []
    for width in outputs:
        layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers)
