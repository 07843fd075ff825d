"""The parts of Fast-SCNN (Poudel et al. 2019, table 1)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from segsweep.trainables.models._blocks import conv, depthwise, resize, separable
from segsweep.trainables.models._norms import LenientBatchNorm2d
from segsweep.trainables.models._pyramid import BINS, PyramidPooling

SHARED = 64  # channels of the layers that both branches share, at a stride of 8
GLOBAL = 128  # of the global features, at a stride of 32
STRIDE = 32
EXPANSION = 6


class Bottleneck(nn.Module):
    """MobileNetV2's: wide inside, narrow outside, with a shortcut where the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        wide = EXPANSION * in_channels
        self.layers = nn.Sequential(
            conv(in_channels, wide, 1),
            depthwise(wide, wide, stride, relu=True),
            conv(wide, out_channels, 1, relu=False),
        )
        self.shortcut = stride == 1 and in_channels == out_channels

    def forward(self, maps: Tensor) -> Tensor:
        changed: Tensor = self.layers(maps)
        return changed + maps if self.shortcut else changed


def bottlenecks(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    rest = (Bottleneck(out_channels, out_channels, 1) for _ in range(2))
    return nn.Sequential(Bottleneck(in_channels, out_channels, stride), *rest)


class Encoder(nn.Module):
    """Images to the shared map at a stride of 8, then the global branch at strides of 16 and 32; the last is pooled."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.shared = nn.Sequential(conv(in_channels, 32, 3, 2), separable(32, 48, 2), separable(48, SHARED, 2))
        self.stages = nn.ModuleList([bottlenecks(SHARED, 64, 2), bottlenecks(64, 96, 2), bottlenecks(96, GLOBAL, 1)])
        self.pool = nn.Sequential(PyramidPooling(GLOBAL, GLOBAL // len(BINS)), conv(2 * GLOBAL, GLOBAL, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        features = [self.shared(images)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return [*features[:-1], self.pool(features[-1])]


class Fusion(nn.Module):
    """The shared map and the upsampled global features, summed."""

    def __init__(self) -> None:
        super().__init__()
        factor = STRIDE // 8
        self.spread = nn.Conv2d(GLOBAL, GLOBAL, 3, padding=factor, dilation=factor, groups=GLOBAL, bias=False)
        self.spread_norm = LenientBatchNorm2d(GLOBAL)
        self.coarse = conv(GLOBAL, GLOBAL, 1, relu=False)
        self.fine = conv(SHARED, GLOBAL, 1, relu=False)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        fine, coarse = features[0], features[-1]
        spread = F.relu(self.spread_norm(self.spread(resize(coarse, like=fine))))
        return F.relu(self.fine(fine) + self.coarse(spread))
