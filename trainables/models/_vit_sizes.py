"""The usual sizes of a plain vision transformer (Dosovitskiy et al. 2021; tiny and small: Touvron et al. 2021)."""

from __future__ import annotations

from typing import Literal, NamedTuple

ViTSize = Literal["vit_tiny", "vit_small", "vit_base", "vit_large"]


class Size(NamedTuple):
    width: int
    layers: int
    heads: int

    @property
    def thirds(self) -> tuple[int, int, int, int]:
        """The layers, from 0, that BEiT takes: 3, 5, 7, 11 of 12, and 7, 11, 15, 23 of 24."""
        return (self.layers // 3 - 1, self.layers // 2 - 1, 2 * self.layers // 3 - 1, self.layers - 1)

    @property
    def quarters(self) -> tuple[int, int, int, int]:
        """The layers, counted from 0, whose outputs make a pyramid: the last of each quarter (5, 11, 17, 23 of 24)."""
        return (self.layers // 4 - 1, self.layers // 2 - 1, 3 * self.layers // 4 - 1, self.layers - 1)


SIZES = {
    "vit_tiny": Size(192, 12, 3),
    "vit_small": Size(384, 12, 6),
    "vit_base": Size(768, 12, 12),
    "vit_large": Size(1024, 24, 16),
}
