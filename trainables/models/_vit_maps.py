"""The feature maps of a plain vision transformer of timm, at any image size."""

from __future__ import annotations

from torch import Tensor, nn

from segsweep.trainables.models._timm_vit import timm_model


class FeatureMaps(nn.Module):
    """Images to four maps (N, width, H / patch, W / patch), normalised, after each quarter of the layers."""

    def __init__(self, name: str, weights: str, in_channels: int) -> None:
        super().__init__()
        self.vit = timm_model(name, weights, in_chans=in_channels, dynamic_img_size=True, global_pool="")
        self.width: int = self.vit.embed_dim
        self.layers = [(quarter * len(self.vit.blocks)) // 4 - 1 for quarter in (1, 2, 3, 4)]

    def forward(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.vit.forward_intermediates(
            images, indices=self.layers, norm=True, intermediates_only=True
        )
        return maps
