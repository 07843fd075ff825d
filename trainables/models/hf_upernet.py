"""UPerNet (Xiao et al. 2018) on Swin, ConvNeXt or ResNet, the version of transformers.

Pyramid pooling on the last stage, a feature pyramid over all four, and an FCN head on the third while it trains.
Weights of whole networks: openmmlab/upernet-swin-*, openmmlab/upernet-convnext-* (MIT); of encoders: see _backbones.py.
ADE20K val mIoU, single scale (mmsegmentation): Swin-T 44.41, S 47.72, B 47.99 (ImageNet-22k 50.13); ConvNeXt-T 46.11,
S 48.56, B 48.71, L 53.16 at 640 px. BDD100K drivable, 2 classes: Swin-T 82.26, ConvNeXt-T 81.22.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveInt

from segsweep.trainables.components import Family, Outputs, Problem, Task
from segsweep.trainables.models._backbones import STRIDE, Backbone, backbone_config, family_of, without_unused
from segsweep.trainables.models._transformers import TransformersOptions, build_network, weights_problems

if TYPE_CHECKING:
    from torch import Tensor, nn

EXAMPLE = "openmmlab/upernet-swin-tiny"


class Options(TransformersOptions):
    most_stages = 4

    encoder: Backbone = "swin_tiny"
    window: Literal[7, 12] = 7  # of Swin's attention: 12 with weights of 384 px
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.3  # stochastic depth of Swin and ConvNeXt
    decoder_width: PositiveInt = 512
    auxiliary_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.4  # of the FCN head; 0: no such head


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options.encoder)


def check(options: Options, task: Task) -> Iterable[Problem]:
    return weights_problems(options, EXAMPLE)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from torch import nn
    from transformers import UperNetConfig, UperNetForSemanticSegmentation

    from segsweep.trainables.models._norms import lenient
    from segsweep.trainables.models._sizes import AnySize

    class UPerNet(nn.Module):
        def __init__(self, network: Any) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Tensor | Outputs:
            features = self.network.backbone(images).feature_maps
            logits: Tensor = self.network.decode_head(features)
            if not self.training or self.network.auxiliary_head is None:
                return logits
            return Outputs(logits, ((options.auxiliary_weight, self.network.auxiliary_head(features)),))

    backbone: Any = backbone_config(options.encoder, task.in_channels, options.window, options.drop_path)
    config = UperNetConfig(
        backbone_config=backbone,
        num_labels=task.num_classes,
        hidden_size=options.decoder_width,
        use_auxiliary_head=options.auxiliary_weight > 0,
    )
    network = build_network(UperNetForSemanticSegmentation, config, options.library_weights, EXAMPLE)
    return AnySize(lenient(UPerNet(without_unused(network))), STRIDE)
