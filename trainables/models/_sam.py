"""The encoders of SAM and SAM 2, and a light semantic head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segsweep.trainables.models._timm_vit import timm_model

QUARTERS = (1, 2, 3)


class SamEncoder(nn.Module):
    """Images to four maps: at 1/4 to 1/32 (SAM 2), or all at 1/16, the last after SAM's neck."""

    def __init__(self, name: str, weights: str, in_channels: int) -> None:
        super().__init__()
        self.vit = timm_model(name, weights, in_chans=in_channels)
        self.vit.head = nn.Identity()  # timm leaves SAM 2's norm before the classifier there
        self.single_scale = name.startswith("samvit")
        widths = [info["num_chs"] for info in self.vit.feature_info]
        self.layers = [quarter * len(widths) // 4 - 1 for quarter in QUARTERS] if self.single_scale else [0, 1, 2, 3]
        self.widths: list[int] = [widths[layer] for layer in self.layers]
        self.widths += [self.vit.num_features] * self.single_scale

    def forward(self, images: Tensor) -> list[Tensor]:
        last, maps = self.vit.forward_intermediates(images, indices=self.layers)
        return [*maps, last] if self.single_scale else list(maps)


class SemanticSam(nn.Module):
    """Logits at 1/4 of images whose sides divide by the encoder's stride."""

    def __init__(self, encoder: SamEncoder, width: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        up = [_doubled(width), _doubled(width)] if encoder.single_scale else [_norm_and_relu(width)]
        laterals = nn.ModuleList(nn.Conv2d(each, width, kernel_size=1) for each in encoder.widths)
        self.decoder: Any = nn.ModuleDict({"laterals": laterals, "up": nn.Sequential(*up)})
        self.head = nn.Conv2d(width, num_classes, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        maps = [lateral(each) for lateral, each in zip(self.decoder["laterals"], self.encoder(images), strict=True)]
        size = maps[0].shape[2:]
        fused = torch.stack([F.interpolate(each, size=size, mode="bilinear") for each in maps]).sum(0)
        logits: Tensor = self.head(self.decoder["up"](fused))
        return logits


def _norm_and_relu(width: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())


def _doubled(width: int) -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(width, width, kernel_size=2, stride=2), _norm_and_relu(width))
