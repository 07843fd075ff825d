"""UPerNet on the maps of a plain vision transformer, as BEiT has it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from transformers import UperNetConfig
from transformers.models.upernet.modeling_upernet import UperNetHead


class VitUPerNet(nn.Module):
    """Four maps (N, D, h, w) of one size, with even sides, to logits at four times their size."""

    def __init__(self, in_width: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(in_width, in_width, kernel_size=2, stride=2),
                    nn.BatchNorm2d(in_width),
                    nn.GELU(),
                    nn.ConvTranspose2d(in_width, in_width, kernel_size=2, stride=2),
                ),
                nn.ConvTranspose2d(in_width, in_width, kernel_size=2, stride=2),
                nn.Identity(),
                nn.MaxPool2d(kernel_size=2, stride=2),
            ]
        )
        self.upernet = UperNetHead(UperNetConfig(hidden_size=width, num_labels=num_classes), [in_width] * 4)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.upernet([level(each) for level, each in zip(self.levels, maps, strict=True)])
        return logits
