"""Which mean and standard deviation are taken out of images before a network sees them: those of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

Channels = tuple[float, float, float]


class Normalization(NamedTuple):
    """Of RGB images in [0, 1]."""

    mean: Channels
    std: Channels

    @classmethod
    def stated(cls, mapping: Mapping[str, object]) -> Self | None:
        """What a configuration of timm or SMP (mean, std) or of transformers (image_mean, image_std) says, if any.

        A processor of transformers that does not normalise lists a mean all the same; MobileViT's only says so by
        leaving do_normalize out.
        """
        if not mapping.get("do_normalize", "do_flip_channel_order" not in mapping):
            return cls(*UNIT)
        for prefix in ("", "image_"):
            mean, std = mapping.get(f"{prefix}mean"), mapping.get(f"{prefix}std")
            if isinstance(mean, list | tuple) and isinstance(std, list | tuple) and len(mean) == len(std) == 3:
                return cls((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))
        return None


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""What most encoders were pretrained with, and what networks without weights get."""
UNIT = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""As they are, in [0, 1]: MobileViT."""
HALF = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""To [-1, 1]: TensorFlow's networks, and several vision transformers."""
