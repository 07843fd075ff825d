"""The parts of DDRNet (Hong et al. 2021, table 1 and figures 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segsweep.trainables.models._blocks import conv, resize
from segsweep.trainables.models._norms import LenientBatchNorm2d

STRIDE = 64
CONTEXT = 128  # channels of each scale of the context module
WINDOWS = ((5, 2), (9, 4), (17, 8))  # of its averages: size and stride


class Residual(nn.Module):
    """A block of ResNet without its last ReLU, which is left to what comes next: branches exchange raw sums."""

    def __init__(self, layers: nn.Sequential, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        same = stride == 1 and in_channels == out_channels
        self.layers = layers
        self.shortcut = nn.Identity() if same else conv(in_channels, out_channels, 1, stride, relu=False)

    def forward(self, maps: Tensor) -> Tensor:
        summed: Tensor = self.layers(maps) + self.shortcut(maps)
        return summed


def basic(in_channels: int, out_channels: int, stride: int = 1) -> Residual:
    layers = nn.Sequential(conv(in_channels, out_channels, 3, stride), conv(out_channels, out_channels, 3, relu=False))
    return Residual(layers, in_channels, out_channels, stride)


def pair(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(basic(in_channels, out_channels, stride), nn.ReLU(), basic(out_channels, out_channels))


def bottleneck(channels: int, stride: int = 1) -> Residual:
    """To twice the channels."""
    layers = nn.Sequential(
        conv(channels, channels, 1), conv(channels, channels, 3, stride), conv(channels, 2 * channels, 1, relu=False)
    )
    return Residual(layers, channels, 2 * channels, stride)


class Encoder(nn.Module):
    """Images to the fine branch after its first exchange, and the ends of the fine and the coarse one (stride 64)."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        fine = 2 * width
        self.stem = nn.Sequential(
            *(conv(in_channels, width, 3, 2), conv(width, width, 3, 2), pair(width, width), nn.ReLU()),
            *(pair(width, fine, 2), nn.ReLU()),
        )
        self.coarse = nn.ModuleList([pair(fine, 4 * width, 2), pair(4 * width, 8 * width, 2), bottleneck(8 * width, 2)])
        self.fine = nn.ModuleList([pair(fine, fine), pair(fine, fine), bottleneck(fine)])
        self.up = nn.ModuleList(conv(factor * width, fine, 1, relu=False) for factor in (4, 8))
        self.down = nn.ModuleList(
            [
                conv(fine, 4 * width, 3, 2, relu=False),
                nn.Sequential(conv(fine, 4 * width, 3, 2), conv(4 * width, 8 * width, 3, 2, relu=False)),
            ]
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = coarse = self.stem(images)
        exchanged = []
        for low, high, up, down in zip(self.coarse, self.fine, self.up, self.down, strict=False):
            below, beside = low(F.relu(coarse)), high(F.relu(fine))
            coarse = below + down(F.relu(beside))
            fine = beside + resize(up(F.relu(below)), like=beside)
            exchanged.append(fine)
        return [exchanged[0], self.fine[-1](F.relu(fine)), self.coarse[-1](F.relu(coarse))]


def preactivated(in_channels: int, out_channels: int, kernel: int = 1) -> nn.Sequential:
    """BatchNorm and ReLU, then the convolution."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(LenientBatchNorm2d(in_channels), nn.ReLU(), convolution)


def preactivated_head(in_channels: int, channels: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        preactivated(in_channels, channels, 3),
        LenientBatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, num_classes, 1),
    )


class Decoder(nn.Module):
    """The fine branch plus averages of the coarse one over ever larger windows, each with those before it."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        pools: list[nn.Module] = [nn.AvgPool2d(size, stride, size // 2) for size, stride in WINDOWS]
        pools.append(nn.AdaptiveAvgPool2d(1))
        self.whole = preactivated(in_channels, CONTEXT)
        self.scales = nn.ModuleList(nn.Sequential(pool, preactivated(in_channels, CONTEXT)) for pool in pools)
        self.processes = nn.ModuleList(preactivated(CONTEXT, CONTEXT, 3) for _ in pools)
        self.compress = preactivated(CONTEXT * (1 + len(pools)), out_channels)
        self.shortcut = preactivated(in_channels, out_channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        fine, coarse = features[-2:]
        scales = [self.whole(coarse)]
        for scale, process in zip(self.scales, self.processes, strict=True):
            scales.append(process(resize(scale(coarse), like=coarse) + scales[-1]))
        context = self.compress(torch.cat(scales, dim=1)) + self.shortcut(coarse)
        return fine + resize(context, like=fine)
