"""Vision transformers of timm below decoders of our own, with its weights."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segsweep.trainables.components import Problem, WeightsError
from segsweep.trainables.model_options import ModelOptions

logger = logging.getLogger(__name__)


class TimmOptions(ModelOptions):
    encoder_weights: str = "none"  # or timm, which are those of its hub, or a file of theirs in safetensors


def weights_problems(options: Any) -> Iterator[Problem]:
    weights = options.encoder_weights
    if weights not in ("none", "timm") and Path(weights).suffix != ".safetensors":
        yield Problem("encoder_weights", f"must be none, timm or the path of a .safetensors file, not '{weights}'")


def timm_model(name: str, weights: str, **settings: object) -> Any:
    """timm's `name` without its head. Raises WeightsError."""
    import timm

    settings = {"num_classes": 0, **settings}
    if weights == "none":
        return timm.create_model(name, **settings)
    file = {} if weights == "timm" else {"pretrained_cfg_overlay": {"file": weights}}
    try:
        model = timm.create_model(name, pretrained=True, **file, **settings)
    except (OSError, RuntimeError) as error:  # of the hub, or tensors that do not fit
        raise _unavailable(name, weights, error) from error
    licence = model.pretrained_cfg.get("license") or "unknown licence"
    logger.info("%s: weights of timm, %s", name, licence)
    return model


def _unavailable(name: str, weights: str, error: Exception) -> WeightsError:
    import timm

    from segsweep.trainables.models._weights import cause, unavailable

    if weights == "timm":
        download = str(timm.get_pretrained_cfg(name).hf_hub_id)
        return unavailable(f"encoder_weights 'timm' of '{name}'", download, error)
    return WeightsError(
        f"encoder_weights '{weights}' cannot be loaded as those of '{name}' ({cause(error)}); give a file of its "
        "weights with timm's names, or timm, or none"
    )
