"""Pyramid pooling (Zhao et al. 2017, Pyramid Scene Parsing Network)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segsweep.trainables.models._blocks import conv, resize

BINS = (1, 2, 3, 6)


class PyramidPooling(nn.Module):
    """(N, C, h, w) to (N, C + 4 * channels, h, w): the map, and its averages over 1, 4, 9 and 36 cells."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), conv(in_channels, channels, 1)) for bins in BINS
        )

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps, *(resize(stage(maps), maps) for stage in self.stages)], dim=1)
