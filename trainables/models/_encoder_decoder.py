"""An encoder, a decoder and a head, and where asked an auxiliary head that is only there while training."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segsweep.trainables.components import Outputs
from segsweep.trainables.models._norms import LenientBatchNorm2d


class EncoderDecoder(nn.Module):
    """head(decoder(encoder(images))); while training, also an auxiliary head on the encoder's last map but one.

    Logits come out at whatever size the heads have them. `weight` is that of the auxiliary ones in the loss.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        head: nn.Module,
        auxiliary_head: nn.Module | None = None,
        weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head
        self.auxiliary_head = auxiliary_head
        self.weight = weight

    def forward(self, images: Tensor) -> Tensor | Outputs:
        features: Sequence[Tensor] = self.encoder(images)
        logits: Tensor = self.head(self.decoder(features))
        if not self.training or self.auxiliary_head is None:
            return logits
        return Outputs(logits, ((self.weight, self.auxiliary_head(features[-2])),))


class OnLast(nn.Sequential):
    """Layers on the encoder's last map."""

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        maps = features[-1]
        for layer in self:
            maps = layer(maps)
        return maps


def fcn_head(in_channels: int, channels: int, num_classes: int, dropout: float = 0.1) -> nn.Sequential:
    """A 3x3 convolution, then the classifier: the auxiliary head of Zhao et al. 2017, and torchvision's FCN."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
        LenientBatchNorm2d(channels),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(channels, num_classes, 1),
    )


def auxiliary_on(encoder: nn.Module, num_classes: int, weight: float) -> nn.Module | None:
    """An FCN head with a quarter of the channels of the encoder's last map but one; None if it would not count."""
    channels: int = encoder.out_channels[-2]  # type: ignore[index, assignment]
    return fcn_head(channels, channels // 4, num_classes) if weight else None


def with_auxiliary(network: nn.Module, num_classes: int, weight: float) -> nn.Module:
    """A network of SMP with an auxiliary head; itself if the weight is 0."""
    if weight == 0:
        return network
    encoder, decoder, head = (network.get_submodule(part) for part in ("encoder", "decoder", "segmentation_head"))
    return EncoderDecoder(encoder, decoder, head, auxiliary_on(encoder, num_classes, weight), weight)
