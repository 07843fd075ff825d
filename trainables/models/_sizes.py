"""Images of any size through a network that wants multiples of its stride."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from segsweep.trainables.components import VOID, Outputs


class AnySize(nn.Module):
    """Pads images to multiples of `stride`, and brings the logits back to the images' size.

    Pads on the right and at the bottom by repeating the border: zeros would be an edge that no image has, reflection
    needs more pixels than a thin image may offer. Logits coarser than the image are upsampled bilinearly
    (align_corners=False: half-pixel centres, as every stage of these encoders halves an even side), then cropped.
    """

    def __init__(self, network: nn.Module, stride: int, least: int = 1) -> None:
        """least: pixels to pad to on either side, a multiple of the stride, where the network needs so many."""
        super().__init__()
        self.network = network
        self.stride = stride
        self.least = least

    def forward(self, images: Tensor) -> Tensor | Outputs:
        """(N, C_in, H, W) to logits (N, C, H, W); an `own_loss` of the network sees labels padded like the images."""
        height, width = images.shape[2:]
        right = max(-width % self.stride, self.least - width)
        bottom = max(-height % self.stride, self.least - height)
        padded = F.pad(images, (0, right, 0, bottom), mode="replicate") if right or bottom else images

        def sized(logits: Tensor) -> Tensor:
            if logits.shape[2:] != padded.shape[2:]:
                logits = F.interpolate(logits, size=padded.shape[2:], mode="bilinear", align_corners=False)
            return logits[:, :, :height, :width]

        def padded_labels(labels: Tensor) -> Tensor:
            return F.pad(labels, (0, right, 0, bottom), value=VOID)

        match self.network(padded):
            case Outputs(logits, auxiliary, own_loss):
                own = own_loss and (lambda labels: own_loss(padded_labels(labels)))
                return Outputs(sized(logits), tuple((weight, sized(more)) for weight, more in auxiliary), own)
            case logits:
                return sized(logits)


class LogitsOf(nn.Module):
    """A transformers model that returns its logits as a plain tensor."""

    def __init__(self, network: nn.Module, *, blue_first: bool = False) -> None:
        """blue_first: the network wants BGR images; it is given RGB ones."""
        super().__init__()
        self.network = network
        self.blue_first = blue_first

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(pixel_values=images.flip(1) if self.blue_first else images).logits
        return logits
