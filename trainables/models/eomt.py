"""EoMT (Kerssies et al. 2025), the version of transformers: a plain vision transformer whose last blocks hold queries.

The encoder is that of DINOv2 (patches of 16, absolute positions) or of DINOv3 (rotary positions). It trains with its
own loss (class 2, mask 5, dice 5, after each of the last blocks), which sees labelled pixels only: see _set_loss.py.
The paper anneals the masks of its attention away in training; here they are there throughout, or not at all.
Weights of whole networks: tue-mps/{ade20k,cityscapes}_semantic_eomt_large_* (licence: see there), tue-mps/eomt-dinov3-*
(Meta's DINOv3 licence); of the encoder: facebook/dinov3-vit{s,b,l}16-pretrain-lvd1689m (DINOv3 licence).
Cityscapes val mIoU, DINOv3, 20k iterations (lightly-train): S 78.6, B 81.0, L 84.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._queries import query_problems
from segsweep.trainables.models._transformers import (
    TransformersOptions,
    build_network,
    load_encoder,
    pretrained_config,
    weights_problems,
)
from segsweep.trainables.models._vit_sizes import SIZES

if TYPE_CHECKING:
    from torch import nn

OWN_LOSS = True
EXAMPLE = "tue-mps/ade20k_semantic_eomt_large_512"
PATCH = 16
DINOV3_NAMES = (
    ("model.layer.", "layers."),
    ("norm.", "layernorm."),
)  # of transformers' DINOv3, and what EoMT calls them


class Options(TransformersOptions):
    encoder: Literal[
        "dinov2_tiny",
        "dinov2_small",
        "dinov2_base",
        "dinov2_large",
        "dinov3_tiny",
        "dinov3_small",
        "dinov3_base",
        "dinov3_large",
    ] = "dinov3_small"
    queries: PositiveInt = 100
    blocks: Annotated[int, Field(ge=1, le=12)] = 3  # the last of the encoder's, with the queries in them; 4 for large
    masked_attention: bool = True  # queries look where their last mask was
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0  # stochastic depth


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return "transformer"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return [*weights_problems(options, EXAMPLE), *query_problems(options.queries, task)]


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from segsweep.trainables.models._backbones import without_unused
    from segsweep.trainables.models._eomt import predict
    from segsweep.trainables.models._set_loss import SetLoss
    from segsweep.trainables.models._sizes import AnySize
    from segsweep.trainables.models._universal import Universal

    network: Any = without_unused(_network(options, task))
    if not options.masked_attention:
        network.attn_mask_probs.zero_()
    loss = SetLoss(class_weight=2.0, mask_weight=5.0, dice_weight=5.0)
    return AnySize(Universal(network, predict, loss, name="eomt"), PATCH)


def _network(options: Options, task: Task) -> nn.Module:
    from transformers import EomtConfig, EomtDinov3Config

    from segsweep.trainables.models._eomt import TellingEomt, TellingEomtDinov3

    size = SIZES["vit_" + options.encoder.partition("_")[2]]
    settings: dict[str, Any] = {
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_channels": task.in_channels,
        "num_labels": task.num_classes,
        "num_queries": options.queries,
        "num_blocks": options.blocks,
        "drop_path_rate": options.drop_path,
        "image_size": 512,  # DINOv2's positions are for its patches, and interpolated for other images
    }
    weights = options.library_weights
    if options.encoder.startswith("dinov2"):
        return build_network(TellingEomt, EomtConfig(**settings), weights, EXAMPLE, adopt=("image_size",))
    config = EomtDinov3Config(intermediate_size=4 * size.width, **settings)
    if weights != "none" and pretrained_config(weights, EXAMPLE).model_type == "dinov3_vit":
        return load_encoder(TellingEomtDinov3(config), weights, EXAMPLE, DINOV3_NAMES)
    return build_network(TellingEomtDinov3, config, weights, EXAMPLE)
