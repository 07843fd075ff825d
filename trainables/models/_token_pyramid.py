"""The forward pass of beit and data2vec."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from segsweep.trainables.components import Outputs


class TokenPyramid(nn.Module):
    """Images whose sides divide by 2 * patch to logits at a quarter, and those of the FCN head while it trains."""

    def __init__(self, network: Any, layers: tuple[int, ...], patch: int, auxiliary_weight: float) -> None:
        """layers: from 0, whose tokens make the pyramid."""
        super().__init__()
        self.network = network
        self._layers = layers
        self._patch = patch
        self._auxiliary_weight = auxiliary_weight

    def forward(self, images: Tensor) -> Tensor | Outputs:
        encoder = self.network.base_model
        hidden = encoder(images, output_hidden_states=True).hidden_states  # the first is the embedding
        rows, columns = images.shape[2] // self._patch, images.shape[3] // self._patch
        maps = [hidden[layer + 1][:, 1:].mT.unflatten(2, (rows, columns)) for layer in self._layers]
        pyramid = self._pyramid(maps)
        logits: Tensor = self.network.decode_head(pyramid)
        if not self.training or self.network.auxiliary_head is None:
            return logits
        return Outputs(logits, ((self._auxiliary_weight, self.network.auxiliary_head(pyramid)),))

    def _pyramid(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps at 1/4, 1/8, 1/16 and 1/32 of the image."""
        if hasattr(self.network, "fpn"):  # beit
            return list(self.network.fpn(maps))
        levels = (self.network.fpn1, self.network.fpn2, self.network.fpn3, self.network.fpn4)  # data2vec
        return [level(each) for level, each in zip(levels, maps, strict=True)]
