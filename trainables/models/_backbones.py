"""The hierarchical encoders of transformers below its decoders: Swin, ConvNeXt and ResNet, by name.

Liu et al. 2021 (Swin), Liu et al. 2022 (ConvNeXt), He et al. 2016 (ResNet). Weights of ImageNet are microsoft/swin-*,
facebook/convnext-* and microsoft/resnet-* (Apache 2.0, as their pages on the hub say).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from segsweep.trainables.components import Family
from segsweep.trainables.models._transformers import without

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig

Backbone = Literal[
    "swin_tiny",
    "swin_small",
    "swin_base",
    "swin_large",
    "convnext_tiny",
    "convnext_small",
    "convnext_base",
    "convnext_large",
    "convnext_xlarge",
    "resnet18",
    "resnet50",
    "resnet101",
]
SWIN = {
    "swin_tiny": (96, [2, 2, 6, 2], [3, 6, 12, 24]),
    "swin_small": (96, [2, 2, 18, 2], [3, 6, 12, 24]),
    "swin_base": (128, [2, 2, 18, 2], [4, 8, 16, 32]),
    "swin_large": (192, [2, 2, 18, 2], [6, 12, 24, 48]),
}
"""Width, depths and heads of table 7."""
CONVNEXT = {
    "convnext_tiny": (96, [3, 3, 9, 3]),
    "convnext_small": (96, [3, 3, 27, 3]),
    "convnext_base": (128, [3, 3, 27, 3]),
    "convnext_large": (192, [3, 3, 27, 3]),
    "convnext_xlarge": (256, [3, 3, 27, 3]),
}
RESNET = {
    "resnet18": ("basic", [64, 128, 256, 512], [2, 2, 2, 2]),
    "resnet50": ("bottleneck", [256, 512, 1024, 2048], [3, 4, 6, 3]),
    "resnet101": ("bottleneck", [256, 512, 1024, 2048], [3, 4, 23, 3]),
}
STRIDE = 32  # of the last of four stages, the first is at 4


def family_of(name: Backbone) -> Family:
    return "transformer" if name in SWIN else "cnn"


def backbone_config(name: Backbone, in_channels: int, window: int, drop_path: float) -> PretrainedConfig:
    """window: of Swin alone; drop_path: stochastic depth, of Swin and ConvNeXt."""
    from transformers import ConvNextConfig, ResNetConfig, SwinConfig

    common: dict[str, Any] = {
        "num_channels": in_channels,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }
    if name in SWIN:
        width, depths, heads = SWIN[name]
        return SwinConfig(
            embed_dim=width, depths=depths, num_heads=heads, window_size=window, drop_path_rate=drop_path, **common
        )
    if name in CONVNEXT:
        width, depths = CONVNEXT[name]
        widths = [width * 2**stage for stage in range(4)]
        return ConvNextConfig(hidden_sizes=widths, depths=depths, drop_path_rate=drop_path, **common)
    layer, widths, depths = RESNET[name]
    return ResNetConfig(layer_type=layer, hidden_sizes=widths, depths=depths, **common)


def without_unused(network: nn.Module) -> nn.Module:
    """`network` without what no output depends on: Swin's last norm, which classifiers use, and losses."""
    names = [
        name for name, _ in network.named_modules() if name.endswith((".swin.layernorm", "encoder.model.layernorm"))
    ]
    return without(network, *names, *(name for name in ("criterion", "matcher") if hasattr(network, name)))
