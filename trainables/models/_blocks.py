"""Convolutions with normalisation, and resizing, as the networks written here use them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from segsweep.trainables.models._norms import LenientBatchNorm2d


def conv(
    in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, groups: int = 1, relu: bool = True
) -> nn.Sequential:
    """A padded convolution without bias, BatchNorm, and ReLU unless told otherwise."""
    padding = kernel // 2
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False),
        LenientBatchNorm2d(out_channels),
    ]
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))


def separable(in_channels: int, out_channels: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """A 3x3 convolution of each channel, then a 1x1 one over them; BatchNorm after each, ReLU after the last."""
    return nn.Sequential(depthwise(in_channels, in_channels, stride), conv(in_channels, out_channels, 1, relu=relu))


def depthwise(in_channels: int, out_channels: int, stride: int = 1, relu: bool = False) -> nn.Sequential:
    """A 3x3 convolution of each channel by itself, to one or several, with BatchNorm."""
    return conv(in_channels, out_channels, 3, stride, groups=in_channels, relu=relu)


def resize(maps: Tensor, like: Tensor) -> Tensor:
    """Bilinearly to the height and width of `like`."""
    return F.interpolate(maps, size=like.shape[2:], mode="bilinear", align_corners=False)
