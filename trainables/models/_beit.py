"""What beit and data2vec share: a transformer with relative position biases, a pyramid of its tokens, and UPerNet.

transformers' own forward passes take the tokens of two layers too early, so that the last layers do nothing, and
data2vec's takes square images of one size; these are the layers of the papers' code, and images of any size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from segsweep.trainables.components import Task
from segsweep.trainables.data.normalization import HALF
from segsweep.trainables.models._transformers import TransformersOptions, build_network
from segsweep.trainables.models._vit_sizes import SIZES, ViTSize

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

PATCH = 16
STRIDE = 2 * PATCH  # the pyramid's last map has half the tokens of each side
ADOPTED = (
    "image_size",
    "use_absolute_position_embeddings",
    "use_relative_position_bias",
    "use_shared_relative_position_bias",
    "layer_scale_init_value",
    "use_mean_pooling",
    "use_mask_token",
)
"""What differs between the published weights, and decides which tensors there are."""


class BeitOptions(TransformersOptions):
    expects = HALF

    encoder: ViTSize = "vit_base"
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1  # stochastic depth
    auxiliary_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.4  # of the FCN head; 0: no such head


def build_beit(
    network: type[PreTrainedModel], config: type[PretrainedConfig], options: BeitOptions, task: Task, example: str
) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from segsweep.trainables.models._norms import lenient
    from segsweep.trainables.models._sizes import AnySize
    from segsweep.trainables.models._token_pyramid import TokenPyramid

    size = SIZES[options.encoder]
    settings: dict[str, Any] = {
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": 4 * size.width,
        "num_channels": task.in_channels,
        "num_labels": task.num_classes,
        "use_relative_position_bias": True,
        "drop_path_rate": options.drop_path,
        "use_auxiliary_head": options.auxiliary_weight > 0,
        "out_indices": [layer + 1 for layer in size.thirds],
    }
    built = build_network(network, config(**settings), options.library_weights, example, ADOPTED)
    return AnySize(lenient(TokenPyramid(built, size.thirds, PATCH, options.auxiliary_weight)), STRIDE)
