"""The decoder of LR-ASPP (Howard et al. 2019, figure 10)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segsweep.trainables.models._blocks import conv, resize


class Gated(nn.Module):
    """The map at a stride of 8 as it is, and the last one, gated by its own average and brought to that size."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.project = conv(in_channels, channels, 1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, channels, 1, bias=False), nn.Sigmoid()
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        fine, coarse = features[3], features[-1]
        return fine, resize(self.project(coarse) * self.gate(coarse), like=fine)


class TwoScores(nn.Module):
    """The sum of the scores of both maps."""

    def __init__(self, fine_channels: int, coarse_channels: int, num_classes: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(fine_channels, num_classes, 1)
        self.coarse = nn.Conv2d(coarse_channels, num_classes, 1)

    def forward(self, maps: tuple[Tensor, Tensor]) -> Tensor:
        scores: Tensor = self.fine(maps[0]) + self.coarse(maps[1])
        return scores
