"""The blocks of UTNet."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SCALES = 5
HEADS = 4  # of the attention, at every scale


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and ReLU, beside a shortcut."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(_before(inputs, width), _before(width, width))
        self.shortcut: nn.Module = nn.Identity() if inputs == width else _before(inputs, width, kernel=1)

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.convolutions(features) + self.shortcut(features)
        return found


class Attention(nn.Module):
    """Attention from every pixel of one map to a reduced grid of another, with biases for relative positions."""

    def __init__(self, width: int, source: int, reduced: int) -> None:
        super().__init__()
        self.reduced = reduced
        self.query = _separable(width, width)
        self.keys_values = _separable(source, 2 * width)
        self.out = _separable(width, width)
        self.positions = nn.Parameter(torch.zeros(HEADS, 2 * reduced - 1, 2 * reduced - 1))
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, asking: Tensor, answering: Tensor) -> Tensor:
        size = asking.shape[2:]
        grid = (self.reduced, self.reduced)
        keys, values = F.interpolate(self.keys_values(answering), size=grid, mode="bilinear").chunk(2, dim=1)
        queries, keys, values = (self._of_heads(each) for each in (self.query(asking), keys, values))
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=self._biases(size))
        found: Tensor = self.out(attended.mT.flatten(1, 2).reshape(len(asking), -1, *size))
        return found

    def _of_heads(self, features: Tensor) -> Tensor:
        """(N, D, h, w) to (N, heads, h * w, D / heads)."""
        return features.reshape(len(features), HEADS, -1, features[0, 0].numel()).mT

    def _biases(self, size: torch.Size) -> Tensor:
        """(heads, h * w, reduced^2): of the pixel's place on the reduced grid relative to the key's."""
        last, device = self.reduced - 1, self.positions.device
        places = torch.arange(self.reduced, device=device)
        rows, columns = (torch.arange(side, device=device) * self.reduced // side for side in size)
        down = rows[:, None, None, None] - places[:, None] + last  # (h, 1, reduced, 1)
        right = columns[None, :, None, None] - places + last  # (1, w, 1, reduced)
        return self.positions[:, down, right].flatten(3).flatten(1, 2)


class AttentionBlock(nn.Module):
    """Attention, then a 1x1 convolution, each after BatchNorm and beside a shortcut."""

    def __init__(self, width: int, source: int, reduced: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.source_norm = nn.BatchNorm2d(source)
        self.attention = Attention(width, source, reduced)
        self.mlp = _before(width, width, kernel=1)

    def forward(self, asking: Tensor, answering: Tensor, shortcut: Tensor) -> Tensor:
        found = self.attention(self.norm(asking), self.source_norm(answering)) + shortcut
        result: Tensor = found + self.mlp(found)
        return result


class Encoder(nn.Module):
    """Images to maps at 1/1, 1/2, 1/4, 1/8 and 1/16, each twice as wide as the one before."""

    def __init__(self, in_channels: int, width: int, reduced: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(ResidualBlock(in_channels, width), ResidualBlock(width, width))
        widths = [width * 2**scale for scale in range(SCALES)]
        self.downs = nn.ModuleList(nn.Sequential(nn.MaxPool2d(2), ResidualBlock(w, 2 * w)) for w in widths[:-1])
        self.blocks = nn.ModuleList(AttentionBlock(w, w, reduced) for w in widths[1:])

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [self.stem(images)]
        for down, block in zip(self.downs, self.blocks, strict=True):
            features = down(maps[-1])
            maps.append(block(features, features, features))
        return maps


class Up(nn.Module):
    """A coarse map and a skip of half its width to one of the skip's size; attention if `reduced` is given."""

    def __init__(self, width: int, reduced: int | None) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(2 * width, width, kernel_size=1)
        self.attention = None if reduced is None else AttentionBlock(width, 2 * width, reduced)
        further = [ResidualBlock(width, width)] if reduced is None else []
        self.block = nn.Sequential(ResidualBlock(2 * width, width), *further)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        risen = F.interpolate(self.shortcut(coarse), size=skip.shape[2:], mode="bilinear")
        if self.attention is not None:
            risen = self.attention(skip, coarse, risen)
        found: Tensor = self.block(torch.cat([risen, skip], dim=1))
        return found


class UTNet(nn.Module):
    """Images whose sides divide by 16 to logits of their size."""

    def __init__(self, in_channels: int, width: int, reduced: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels, width, reduced)
        widths = [width * 2**scale for scale in reversed(range(SCALES - 1))]
        self.decoder = nn.ModuleList(Up(w, None if w == width else reduced) for w in widths)
        self.head = nn.Conv2d(width, num_classes, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        *skips, features = self.encoder(images)
        for up, skip in zip(self.decoder, reversed(skips), strict=True):
            features = up(features, skip)
        logits: Tensor = self.head(features)
        return logits


def _before(inputs: int, width: int, kernel: int = 3) -> nn.Sequential:
    """BatchNorm and ReLU, then the convolution."""
    convolution = nn.Conv2d(inputs, width, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), convolution)


def _separable(inputs: int, width: int) -> nn.Sequential:
    """A depthwise 3x3 convolution, then a pointwise one."""
    depthwise = nn.Conv2d(inputs, inputs, kernel_size=3, padding=1, groups=inputs, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(inputs, width, kernel_size=1, bias=False))
