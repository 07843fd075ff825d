"""The representation of HRNetV2: all resolutions at the finest (Wang et al. 2020, figure 4b)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segsweep.trainables.models._blocks import resize


class Together(nn.Module):
    """Maps of several sizes, the finest first, to one of all their channels at the size of the finest."""

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return torch.cat([resize(maps, like=features[0]) for maps in features], dim=1)
