"""Both sides of the U-Net (Ronneberger et al. 2015, figure 1), with padded convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from segsweep.trainables.models._norms import LenientBatchNorm2d

DEPTH = 4


def double_conv(in_channels: int, out_channels: int, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers.append(nn.Conv2d(channels, out_channels, 3, padding=1, bias=not batch_norm))
        layers += [LenientBatchNorm2d(out_channels)] if batch_norm else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """Images to maps of strides 1, 2, 4, 8 and 16."""

    def __init__(self, in_channels: int, width: int, batch_norm: bool, dropout: float) -> None:
        super().__init__()
        channels = [in_channels, *(width << level for level in range(DEPTH + 1))]
        self.levels = nn.ModuleList(double_conv(*pair, batch_norm) for pair in pairwise(channels))
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Tensor) -> list[Tensor]:
        features = [self.levels[0](images)]
        for level in list(self.levels)[1:]:
            features.append(level(self.pool(features[-1])))
        return [*features[:-1], self.dropout(features[-1])]


class Decoder(nn.Module):
    """Back up to (N, width, H, W), each level with the encoder's map of its size beside it."""

    def __init__(self, width: int, batch_norm: bool, upsampling: Literal["transposed", "bilinear", "nearest"]) -> None:
        super().__init__()
        channels = [width << level for level in reversed(range(DEPTH))]
        self.upsamplings = nn.ModuleList(doubling(2 * each, upsampling) for each in channels)
        self.levels = nn.ModuleList(double_conv(2 * each, each, batch_norm) for each in channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        *skips, maps = features
        for upsampling, level, skip in zip(self.upsamplings, self.levels, reversed(skips), strict=True):
            maps = level(torch.cat([skip, upsampling(maps)], dim=1))
        return maps


def doubling(channels: int, upsampling: Literal["transposed", "bilinear", "nearest"]) -> nn.Module:
    """Twice the size at half the channels."""
    if upsampling == "transposed":
        return nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)
    return nn.Sequential(nn.Conv2d(channels, channels // 2, 1), nn.Upsample(scale_factor=2, mode=upsampling))
