"""EoMT of transformers for images of any size, with what every one of its blocks says."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import EomtDinov3ForUniversalSegmentation, EomtForUniversalSegmentation
from transformers.models.eomt.modeling_eomt import EomtEmbeddings

from segsweep.trainables.models._set_loss import SetPrediction


class Telling:
    """Keeps the predictions of one forward pass; theirs keeps the last only."""

    said: list[SetPrediction]

    def predict(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        masks, classes = super().predict(logits)  # type: ignore[misc]
        self.said.append(SetPrediction(classes, masks))
        return masks, classes


class TellingEomt(Telling, EomtForUniversalSegmentation):  # type: ignore[misc]
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embeddings.__class__ = AnySizeEmbeddings


class TellingEomtDinov3(Telling, EomtDinov3ForUniversalSegmentation):  # type: ignore[misc]
    """Its rotary positions take any size as they are."""


class AnySizeEmbeddings(EomtEmbeddings):  # type: ignore[misc]
    """Theirs has one position for each patch of one square size; this one interpolates them, bicubically."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        patches = self.patch_embeddings.projection(pixel_values)
        table = self.position_embeddings.weight
        side = math.isqrt(len(table))
        positions = table.T.view(1, -1, side, side)
        if patches.shape[2:] != positions.shape[2:]:
            positions = F.interpolate(positions, size=patches.shape[2:], mode="bicubic", align_corners=False)
        prefix = torch.cat([self.cls_token, self.register_tokens], dim=1).expand(len(patches), -1, -1)
        embedded: Tensor = self.dropout(torch.cat([prefix, (patches + positions).flatten(2).mT], dim=1))
        return embedded


def predict(network: nn.Module, images: Tensor) -> list[SetPrediction]:
    """What every block with queries says, and the last layer last. The sides of the images divide by the patch."""
    telling: Any = network
    patch = telling.config.patch_size
    telling.said, telling.grid_size = [], (images.shape[2] // patch, images.shape[3] // patch)
    telling(images, output_hidden_states=True)  # for parts.py, which tells stages apart by them
    said: list[SetPrediction] = telling.said
    telling.said = []
    return said
