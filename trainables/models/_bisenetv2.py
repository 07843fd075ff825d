"""The parts of BiSeNet V2 (Yu et al. 2021, table 1 and figures 4 to 6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segsweep.trainables.models._blocks import conv, depthwise, resize, separable
from segsweep.trainables.models._norms import LenientBatchNorm2d

CHANNELS = 128  # of both branches at their ends
SEMANTIC = (16, 32, 64, 128)  # of the deep branch, at strides 4, 8, 16 and 32
STRIDE = 32
EXPANSION = 6


class Stem(nn.Module):
    """To a stride of 4 twice, by a convolution and by a maximum, and both together."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.first = conv(in_channels, channels, 3, 2)
        self.convolved = nn.Sequential(conv(channels, channels // 2, 1), conv(channels // 2, channels, 3, 2))
        self.pooled = nn.MaxPool2d(3, stride=2, padding=1)
        self.fuse = conv(2 * channels, channels)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.first(images)
        fused: Tensor = self.fuse(torch.cat([self.convolved(maps), self.pooled(maps)], dim=1))
        return fused


class GatherExpand(nn.Module):
    """A 3x3 convolution, a wide one of each channel by itself, and back; with a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        wide = EXPANSION * in_channels
        halving = [depthwise(in_channels, wide, 2), depthwise(wide, wide, relu=True)]
        expanding = halving if stride == 2 else [depthwise(in_channels, wide, relu=True)]
        self.layers = nn.Sequential(conv(in_channels, in_channels), *expanding, conv(wide, out_channels, 1, relu=False))
        self.shortcut = separable(in_channels, out_channels, 2, relu=False) if stride == 2 else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(self.layers(maps) + self.shortcut(maps))


class Context(nn.Module):
    """The global average, added everywhere."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d(1), LenientBatchNorm2d(channels), conv(channels, channels, 1))
        self.last = conv(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        summed: Tensor = self.last(maps + self.average(maps))
        return summed


class Encoder(nn.Module):
    """Images to the deep branch at strides 4 to 32, its last map with context, and the detail at a stride of 8."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.detail = nn.Sequential(
            *(conv(in_channels, 64, 3, 2), conv(64, 64)),
            *(conv(64, 64, 3, 2), conv(64, 64), conv(64, 64)),
            *(conv(64, CHANNELS, 3, 2), conv(CHANNELS, CHANNELS), conv(CHANNELS, CHANNELS)),
        )
        self.stages = nn.ModuleList([Stem(in_channels, SEMANTIC[0])])
        for before, after, more in zip(SEMANTIC, SEMANTIC[1:], (1, 1, 3), strict=False):
            rest = (GatherExpand(after, after, 1) for _ in range(more))
            self.stages.append(nn.Sequential(GatherExpand(before, after, 2), *rest))
        self.context = Context(CHANNELS)

    def forward(self, images: Tensor) -> list[Tensor]:
        features = [images]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return [*features[1:], self.context(features[-1]), self.detail(images)]


class Aggregation(nn.Module):
    """Detail and meaning, each gated by the other at its own size, then summed (figure 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.detail = nn.Sequential(depthwise(CHANNELS, CHANNELS), nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False))
        self.detail_down = nn.Sequential(conv(CHANNELS, CHANNELS, 3, 2, relu=False), nn.AvgPool2d(3, 2, 1))
        self.meaning = nn.Sequential(depthwise(CHANNELS, CHANNELS), nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False))
        self.meaning_up = conv(CHANNELS, CHANNELS, relu=False)
        self.last = conv(CHANNELS, CHANNELS)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        meaning, detail = features[-2], features[-1]
        fine = self.detail(detail) * resize(self.meaning_up(meaning), like=detail).sigmoid()
        coarse = self.detail_down(detail) * self.meaning(meaning).sigmoid()
        summed: Tensor = self.last(fine + resize(coarse, like=detail))
        return summed
