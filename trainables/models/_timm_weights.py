"""What timm tells of the weights that it publishes."""

from __future__ import annotations

from segsweep.trainables.data.normalization import IMAGENET, Normalization
from segsweep.trainables.weights.options import Published


def timm_published(name: str) -> Published | None:
    """name: a model of timm, with or without the tag of its weights. None if it has none on the hub."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return Published(config.hf_hub_id, licence=config.license or "") if config and config.hf_hub_id else None


def timm_repository(name: str) -> str:
    """The same for a look into the cache, without timm, which alone knows which tag is the default."""
    return f"timm/{name}" if "." in name else f"timm/{name}.*"


def timm_normalization(name: str) -> Normalization:
    import timm

    config = timm.get_pretrained_cfg(name)
    return Normalization(tuple(config.mean), tuple(config.std)) if config else IMAGENET
