"""The scores of FCN-8s: of several maps, summed from the coarsest up (Long et al. 2015, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SkipScores(nn.Module):
    """The last maps of an encoder, each twice as fine as the next, to scores (N, C, h, w) at the finest of them."""

    def __init__(self, channels: Sequence[int], num_classes: int) -> None:
        """channels: of the maps, coarsest first."""
        super().__init__()
        self.scores = nn.ModuleList(nn.Conv2d(each, num_classes, 1) for each in channels)
        self.upsamplings = nn.ModuleList(doubling(num_classes) for _ in channels[1:])
        for score in list(self.scores)[1:]:  # a skip adds nothing at first, so that FCN-16s begins as FCN-32s
            for parameter in score.parameters():
                nn.init.zeros_(parameter)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        coarse, *finer = reversed(features[-len(self.scores) :])
        total: Tensor = self.scores[0](coarse)
        for maps, score, upsampling in zip(finer, list(self.scores)[1:], self.upsamplings, strict=True):
            total = upsampling(total) + score(maps)
        return total


def doubling(channels: int) -> nn.ConvTranspose2d:
    """A learnable upsampling by 2 that begins as bilinear interpolation of every channel by itself."""
    layer = nn.ConvTranspose2d(channels, channels, kernel_size=4, stride=2, padding=1, bias=False)
    tent = torch.tensor([0.25, 0.75, 0.75, 0.25])
    weight = torch.zeros(channels, channels, 4, 4)
    weight[range(channels), range(channels)] = torch.outer(tent, tent)
    layer.weight = nn.Parameter(weight)
    return layer
