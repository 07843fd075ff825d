"""Images of any size through a network that wants multiples of its stride."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class AnySize(nn.Module):
    """Pads images to multiples of `stride`, and brings the logits back to the images' size.

    Pads on the right and at the bottom by repeating the border: zeros would be an edge that no image has, reflection
    needs more pixels than a thin image may offer. Logits coarser than the image are upsampled bilinearly
    (align_corners=False: half-pixel centres, as every stage of these encoders halves an even side), then cropped.
    """

    def __init__(self, network: nn.Module, stride: int) -> None:
        super().__init__()
        self.network = network
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        """(N, C_in, H, W) to logits (N, C, H, W)."""
        height, width = images.shape[2:]
        right, bottom = -width % self.stride, -height % self.stride
        if right or bottom:
            images = F.pad(images, (0, right, 0, bottom), mode="replicate")
        logits: Tensor = self.network(images)
        if logits.shape[2:] != images.shape[2:]:
            logits = F.interpolate(logits, size=images.shape[2:], mode="bilinear", align_corners=False)
        return logits[:, :, :height, :width]


class LogitsOf(nn.Module):
    """A transformers model that returns its logits as a plain tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(pixel_values=images).logits
        return logits
