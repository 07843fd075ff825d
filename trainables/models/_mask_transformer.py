"""The mask transformer of Segmenter."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_WIDTH = 64  # of the attention, as in every published variant


class MaskTransformer(nn.Module):
    """Patches (N, D, h, w) to logits (N, C, h, w): cosines of patches with classes, scaled by a LayerNorm."""

    def __init__(self, width: int, layers: int, num_classes: int, drop_path: float) -> None:
        super().__init__()
        self.projection = nn.Linear(width, width)
        self.classes = nn.Parameter(torch.empty(1, num_classes, width))
        depths = [drop_path * layer / max(1, layers - 1) for layer in range(layers)]
        heads = max(1, width // HEAD_WIDTH)
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True, drop_path=depth) for depth in depths))
        self.norm = nn.LayerNorm(width)
        self.of_patches = nn.Parameter(width**-0.5 * torch.randn(width, width))
        self.of_classes = nn.Parameter(width**-0.5 * torch.randn(width, width))
        self.head = nn.LayerNorm(num_classes)
        nn.init.trunc_normal_(self.classes, std=0.02)

    def forward(self, patches: Tensor) -> Tensor:
        rows, columns = patches.shape[2:]
        tokens = self.projection(patches.flatten(2).mT)
        tokens = self.norm(self.blocks(torch.cat([tokens, self.classes.expand(len(patches), -1, -1)], dim=1)))
        count = rows * columns
        found = F.normalize(tokens[:, :count] @ self.of_patches, dim=2)
        wanted = F.normalize(tokens[:, count:] @ self.of_classes, dim=2)
        logits: Tensor = self.head(found @ wanted.mT)
        return logits.mT.reshape(len(patches), -1, rows, columns)
