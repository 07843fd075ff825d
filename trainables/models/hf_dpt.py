"""DPT (Ranftl et al. 2021) on a plain vision transformer, the version of transformers.

Tokens of four layers are reassembled to maps at 1/4 to 1/32 of the image and fused from coarse to fine; an FCN head on
the last fusion helps while it trains. Intel/dpt-large-ade (Apache 2.0) has weights of vit_large.
ADE20K val mIoU: mmsegmentation, vit_base 46.97, single scale; the paper's 49.02 is of a hybrid with a ResNet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PositiveInt

from segsweep.trainables.components import Family, Outputs, Problem, Task
from segsweep.trainables.data.normalization import HALF
from segsweep.trainables.models._transformers import TransformersOptions, build_network, weights_problems, without
from segsweep.trainables.models._vit_sizes import SIZES, ViTSize

if TYPE_CHECKING:
    from torch import Tensor, nn

EXAMPLE = "Intel/dpt-large-ade"
PATCH = 16
STRIDE = 2 * PATCH  # the coarsest map has half the tokens of each side


class Options(TransformersOptions):
    expects = HALF

    encoder: ViTSize = "vit_base"
    decoder_width: PositiveInt = 256
    auxiliary_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.4  # 0: no auxiliary head


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return "transformer"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return weights_problems(options, EXAMPLE)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from torch import nn
    from transformers import DPTConfig, DPTForSemanticSegmentation

    from segsweep.trainables.models._norms import lenient
    from segsweep.trainables.models._sizes import AnySize

    size = SIZES[options.encoder]

    class DPT(nn.Module):
        def __init__(self, network: Any) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Tensor | Outputs:
            hidden = self.network.dpt(images, output_hidden_states=True).hidden_states
            layers = [hidden[layer + 1] for layer in size.quarters]
            fused = self.network.neck(layers, images.shape[2] // PATCH, images.shape[3] // PATCH)
            logits: Tensor = self.network.head(fused)
            if not self.training or self.network.auxiliary_head is None:
                return logits
            return Outputs(logits, ((options.auxiliary_weight, self.network.auxiliary_head(fused[-1])),))

    config = DPTConfig(
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.width,
        num_channels=task.in_channels,
        num_labels=task.num_classes,
        neck_hidden_sizes=[size.width // 8, size.width // 4, size.width // 2, size.width],
        neck_ignore_stages=[],
        fusion_hidden_size=options.decoder_width,
        use_batch_norm_in_fusion_residual=True,
        use_auxiliary_head=options.auxiliary_weight > 0,
    )
    adopt = ("image_size", "neck_hidden_sizes", "use_batch_norm_in_fusion_residual")
    network = build_network(DPTForSemanticSegmentation, config, options.library_weights, EXAMPLE, adopt)
    without(network, "dpt.layernorm", "neck.fusion_stage.layers.0.residual_layer1")  # the coarsest map joins none
    return AnySize(lenient(DPT(network)), STRIDE)
