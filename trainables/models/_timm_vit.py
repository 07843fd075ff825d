"""Vision transformers of timm below decoders of our own, with its weights."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, ClassVar

from segsweep.trainables.components import Problem, WeightsError
from segsweep.trainables.data.normalization import Normalization
from segsweep.trainables.model_options import ModelOptions
from segsweep.trainables.models._timm_weights import timm_normalization, timm_published, timm_repository
from segsweep.trainables.weights.hub import cause, unavailable
from segsweep.trainables.weights.options import Published
from segsweep.trainables.weights.sources import Kind, encoder_source

logger = logging.getLogger(__name__)


class TimmOptions(ModelOptions):
    """`encoder_weights: timm` are those of its hub; a file of them may be for images of another size."""

    loads: ClassVar[frozenset[Kind]] = frozenset({"name", "file"})

    encoder: str

    def published(self) -> Published | None:
        return timm_published(self.encoder)

    def repositories(self) -> tuple[str, ...]:
        return (timm_repository(self.encoder),)

    def normalization(self) -> Normalization:
        return timm_normalization(self.encoder)


def weights_problems(options: Any) -> Iterator[Problem]:
    weights = options.encoder_weights
    if encoder_source(weights).kind == "name" and weights != "timm":
        allowed = "none, timm, a file, a folder, a repository of the hub (owner/name) or package:NAME"
        yield Problem("encoder_weights", f"must be {allowed}, not '{weights}'")


def timm_model(name: str, weights: str, **settings: object) -> Any:
    """timm's `name` without its head. Raises WeightsError."""
    import timm

    settings = {"num_classes": 0, **settings}
    source = encoder_source(weights)
    if source.kind not in TimmOptions.loads:
        return timm.create_model(name, **settings)
    file = {"pretrained_cfg_overlay": {"file": str(source.path)}} if source.kind == "file" else {}
    try:
        model = timm.create_model(name, pretrained=True, **file, **settings)
    except (OSError, RuntimeError) as error:  # of the hub, or tensors that do not fit
        raise _unavailable(name, weights, error) from error
    licence = model.pretrained_cfg.get("license") or "unknown licence"
    logger.info("%s: weights of timm, %s", name, licence)
    return model


def _unavailable(name: str, weights: str, error: Exception) -> WeightsError:
    import timm

    if weights == "timm":
        download = str(timm.get_pretrained_cfg(name).hf_hub_id)
        return unavailable(f"encoder_weights 'timm' of '{name}'", download, error)
    return WeightsError(
        f"encoder_weights '{weights}' cannot be loaded as those of '{name}' ({cause(error)}); give a file of its "
        "weights with timm's names, or timm, or none"
    )
