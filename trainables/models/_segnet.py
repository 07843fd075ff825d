"""Both sides of SegNet (Badrinarayanan et al. 2017, figure 2)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from segsweep.trainables.models._blocks import conv

STAGES = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))  # VGG16: convolutions, and channels in multiples of the width


class Encoder(nn.Module):
    """Images to five maps, each after its pooling, and then the five places of their maxima."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for count, factor in STAGES:
            channels = [in_channels] + [factor * width] * count
            self.stages.append(nn.Sequential(*map(conv, channels, channels[1:])))
            in_channels = factor * width

    def forward(self, images: Tensor) -> list[Tensor]:
        maps, pooled, places = images, [], []
        for stage in self.stages:
            maps, place = F.max_pool2d(stage(maps), 2, return_indices=True)
            pooled.append(maps)
            places.append(place)
        return [*pooled, *places]


class Decoder(nn.Module):
    """What Encoder returns to (N, width, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        factors = [1, *(factor for _, factor in STAGES)]
        for (count, factor), after in zip(reversed(STAGES), reversed(factors[:-1]), strict=True):
            channels = [factor * width] * count + [after * width]
            self.stages.append(nn.Sequential(*map(conv, channels, channels[1:])))
        self.stages[-1] = conv(width, width)  # the last convolution of all is the head

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        count = len(STAGES)
        maps, places = features[count - 1], features[count:]
        for stage, place in zip(self.stages, reversed(places), strict=True):
            maps = stage(F.max_unpool2d(maps, place, [2, 2]))
        return maps
