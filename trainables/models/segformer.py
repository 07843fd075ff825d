"""SegFormer b0 to b5 (Xie et al. 2021), the version of transformers, built from its configuration without a download.

NVIDIA licenses the published weights (nvidia/mit-b0, nvidia/segformer-b0-finetuned-...) for non-commercial use only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import PositiveInt

from segsweep.trainables.components import Family, Problem, Task, WeightsError
from segsweep.trainables.models._transformers import (
    TransformersOptions,
    build_network,
    pretrained_config,
    weights_problems,
)

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, SegformerConfig

logger = logging.getLogger(__name__)


class Variant(NamedTuple):
    """A row of the paper's table 6."""

    hidden_sizes: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    decoder_width: int


VARIANTS = {
    "mit_b0": Variant((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "mit_b1": Variant((64, 128, 320, 512), (2, 2, 2, 2), 256),
    "mit_b2": Variant((64, 128, 320, 512), (3, 4, 6, 3), 768),
    "mit_b3": Variant((64, 128, 320, 512), (3, 4, 18, 3), 768),
    "mit_b4": Variant((64, 128, 320, 512), (3, 8, 27, 3), 768),
    "mit_b5": Variant((64, 128, 320, 512), (3, 6, 40, 3), 768),
}
STRIDE = 32
EXAMPLE = "nvidia/mit-b0"


class Options(TransformersOptions):
    most_stages = 4

    encoder: Literal["mit_b0", "mit_b1", "mit_b2", "mit_b3", "mit_b4", "mit_b5"] = "mit_b0"
    decoder_width: PositiveInt | None = None  # the paper's (256 for b0 and b1, else 768) unless given


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return "transformer"


def check(options: Options, task: Task) -> Iterable[Problem]:
    """Any size fits, and a batch of one trains at any size: there is no BatchNorm below the quarter resolution."""
    return weights_problems(options, EXAMPLE)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from transformers import SegformerForSemanticSegmentation

    from segsweep.trainables.models._sizes import AnySize, LogitsOf

    if options.library_weights != "none":
        _check_variant(options, pretrained_config(options.library_weights, EXAMPLE))
        logger.warning("%s: NVIDIA's weights are for non-commercial use only", options.library_weights)
    network = build_network(SegformerForSemanticSegmentation, _config(options, task), options.library_weights, EXAMPLE)
    return AnySize(LogitsOf(network), STRIDE)


def _config(options: Options, task: Task) -> SegformerConfig:
    from transformers import SegformerConfig

    variant = VARIANTS[options.encoder]
    return SegformerConfig(
        num_channels=task.in_channels,
        num_labels=task.num_classes,
        hidden_sizes=variant.hidden_sizes,
        depths=variant.depths,
        decoder_hidden_size=options.decoder_width or variant.decoder_width,
    )


def _check_variant(options: Options, found: PretrainedConfig) -> None:
    """Raises WeightsError if the weights are of another encoder than `options.encoder`."""
    if found.model_type != "segformer":
        return  # build_network says so
    shape = (tuple(found.hidden_sizes), tuple(found.depths))
    names = [name for name, variant in VARIANTS.items() if variant[:2] == shape]
    if options.encoder not in names:
        theirs = names[0] if names else f"another network (hidden sizes {shape[0]}, depths {shape[1]})"
        raise WeightsError(
            f"encoder_weights '{options.encoder_weights}' are those of {theirs}, but encoder is {options.encoder}; "
            "make the two agree"
        )
