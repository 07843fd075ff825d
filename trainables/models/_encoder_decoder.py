"""An encoder, a decoder and a head, and where asked auxiliary heads that are only there while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from segsweep.trainables.components import Outputs
from segsweep.trainables.models._norms import LenientBatchNorm2d

DROPOUT = 0.1  # of auxiliary heads of networks that have no such option: mmsegmentation's


class EncoderDecoder(nn.Module):
    """head(decoder(encoder(images))); while training, also auxiliary heads on some of the encoder's maps.

    Logits come out at whatever size the heads have them.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        head: nn.Module,
        auxiliary_heads: Mapping[int, nn.Module] = {},
        weight: float = 0.0,
    ) -> None:
        """auxiliary_heads: by the index of the map; weight: of each in the loss, without any if it is 0."""
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head
        self.auxiliary_head = nn.ModuleDict({str(at): each for at, each in auxiliary_heads.items() if weight})
        self.weight = weight

    def forward(self, images: Tensor) -> Tensor | Outputs:
        features: Sequence[Tensor] = self.encoder(images)
        logits: Tensor = self.head(self.decoder(features))
        if not self.training or not self.auxiliary_head:
            return logits
        return Outputs(
            logits, tuple((self.weight, each(features[int(at)])) for at, each in self.auxiliary_head.items())
        )


class OnLast(nn.Sequential):
    """Layers on the encoder's last map."""

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        maps = features[-1]
        for layer in self:
            maps = layer(maps)
        return maps


def fcn_head(in_channels: int, channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    """A 3x3 convolution, then the classifier: the auxiliary head of Zhao et al. 2017, and torchvision's FCN."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
        LenientBatchNorm2d(channels),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(channels, num_classes, 1),
    )


def auxiliary_on(encoder: nn.Module, num_classes: int, dropout: float) -> dict[int, nn.Module]:
    """An FCN head on an encoder's last map but one, with a quarter of its channels."""
    channels: int = encoder.out_channels[-2]  # type: ignore[index, assignment]
    return {-2: fcn_head(channels, channels // 4, num_classes, dropout)}


def with_auxiliary(network: nn.Module, num_classes: int, weight: float) -> nn.Module:
    """A network of SMP with an auxiliary head; itself if the weight is 0."""
    if weight == 0:
        return network
    encoder, decoder, head = (network.get_submodule(part) for part in ("encoder", "decoder", "segmentation_head"))
    return EncoderDecoder(encoder, decoder, head, auxiliary_on(encoder, num_classes, DROPOUT), weight)
