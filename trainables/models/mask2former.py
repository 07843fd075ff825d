"""Mask2Former (Cheng et al. 2022), the version of transformers, trained and scored as semantic segmentation.

Deformable attention over three scales, then queries that look where their last mask was. It trains with its own loss
(class 2, mask 5, dice 5, after every decoder layer), which sees labelled pixels only: see _set_loss.py.
Weights of whole networks: facebook/mask2former-swin-*-{ade,cityscapes}-semantic (CC BY-NC 4.0: non-commercial use).
Cityscapes val mIoU (mmsegmentation, 90k): R50 80.44, Swin-T 81.71, S 82.57, B (22k) 83.52, L (22k) 83.65; ADE20K 160k:
R50 47.87, Swin-T 48.66, S 51.24, B (22k) 53.90, L (22k) 56.01.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._backbones import STRIDE, Backbone, backbone_config, family_of, without_unused
from segsweep.trainables.models._queries import query_problems
from segsweep.trainables.models._transformers import TransformersOptions, build_network, weights_problems

if TYPE_CHECKING:
    from torch import Tensor, nn

OWN_LOSS = True
EXAMPLE = "facebook/mask2former-swin-tiny-cityscapes-semantic"


class Options(TransformersOptions):
    most_stages = 4

    encoder: Backbone = "swin_tiny"
    window: Literal[7, 12] = 7  # of Swin's attention: 12 with weights of 384 px
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.3  # stochastic depth of Swin and ConvNeXt
    queries: PositiveInt = 100
    decoder_layers: PositiveInt = 9
    pixel_decoder_layers: PositiveInt = 6
    decoder_width: Annotated[int, Field(ge=64, multiple_of=32)] = 256


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options.encoder)


def check(options: Options, task: Task) -> Iterable[Problem]:
    return [*weights_problems(options, EXAMPLE), *query_problems(options.queries, task)]


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    from segsweep.trainables.models._norms import lenient
    from segsweep.trainables.models._set_loss import SetLoss, SetPrediction
    from segsweep.trainables.models._sizes import AnySize
    from segsweep.trainables.models._universal import Universal

    def predict(network: Any, images: Tensor) -> list[SetPrediction]:
        outputs = network(images, output_auxiliary_logits=True)
        layers = [*outputs.auxiliary_logits, outputs]
        return [SetPrediction(layer["class_queries_logits"], layer["masks_queries_logits"]) for layer in layers]

    backbone: Any = backbone_config(options.encoder, task.in_channels, options.window, options.drop_path)
    width = options.decoder_width
    config = Mask2FormerConfig(
        backbone_config=backbone,
        num_labels=task.num_classes,
        num_queries=options.queries,
        decoder_layers=options.decoder_layers + 1,  # theirs counts the queries before the first layer
        encoder_layers=options.pixel_decoder_layers,
        hidden_dim=width,
        feature_size=width,
        mask_feature_size=width,
        encoder_feedforward_dim=4 * width,
        dim_feedforward=8 * width,
    )
    network = build_network(Mask2FormerForUniversalSegmentation, config, options.library_weights, EXAMPLE)
    loss = SetLoss(class_weight=2.0, mask_weight=5.0, dice_weight=5.0)
    return AnySize(lenient(Universal(without_unused(network), predict, loss)), STRIDE)
