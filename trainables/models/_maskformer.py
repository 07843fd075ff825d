"""MaskFormer of transformers with the start of the paper's code."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import MaskFormerForInstanceSegmentation


class PublishedMaskFormer(MaskFormerForInstanceSegmentation):  # type: ignore[misc]
    """Xavier's start for the DETR decoder; with transformers' own, a sixth as large, masks are not learned."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for parameter in self.model.transformer_module.decoder.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
