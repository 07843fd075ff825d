"""MaskFormer (Cheng et al. 2021), the version of transformers: mask classification as semantic segmentation.

A feature pyramid gives pixels their embeddings, a DETR decoder gives queries theirs; masks are their products. It
trains with its own loss (class 1, focal 20, dice 1, after every decoder layer), which sees labelled pixels only, drawn
at random where there are more than 12,544; the paper takes all pixels, void ones too: see _set_loss.py.
Weights of whole networks: facebook/maskformer-*-ade (CC BY-NC 4.0: non-commercial use); those of a Swin classifier do
not fit its variant of Swin.
ADE20K val mIoU (mmsegmentation, 160k): R50 44.29, R101 45.11, Swin-T 46.69, Swin-S 49.36.
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
EXAMPLE = "facebook/maskformer-swin-tiny-ade"


class Options(TransformersOptions):
    most_stages = 4

    encoder: Backbone = "swin_tiny"
    window: Literal[7, 12] = 7  # of Swin's attention: 12 with weights of 384 px
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.3  # stochastic depth of Swin and ConvNeXt
    queries: PositiveInt = 100
    decoder_layers: PositiveInt = 6
    decoder_width: Annotated[int, Field(ge=64, multiple_of=32)] = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1  # in the decoder


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return family_of(options.encoder)


def check(options: Options, task: Task) -> Iterable[Problem]:
    return [*weights_problems(options, EXAMPLE), *query_problems(options.queries, task)]


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from transformers import DetrConfig, MaskFormerConfig

    from segsweep.trainables.models._maskformer import PublishedMaskFormer
    from segsweep.trainables.models._norms import lenient
    from segsweep.trainables.models._set_loss import SetLoss, SetPrediction
    from segsweep.trainables.models._sizes import AnySize
    from segsweep.trainables.models._universal import Universal

    def predict(network: Any, images: Tensor) -> list[SetPrediction]:
        outputs = network(images, output_hidden_states=True, output_auxiliary_logits=True)
        layers = [*outputs.auxiliary_logits[1:], outputs]  # the first is of queries that saw no image yet, all alike
        return [SetPrediction(layer["class_queries_logits"], layer["masks_queries_logits"]) for layer in layers]

    backbone: Any = backbone_config(options.encoder, task.in_channels, options.window, options.drop_path)
    width = options.decoder_width
    decoder = DetrConfig(
        num_queries=options.queries,
        decoder_layers=options.decoder_layers,
        d_model=width,
        decoder_ffn_dim=8 * width,
        dropout=options.dropout,
    )
    config = MaskFormerConfig(
        backbone_config=backbone,
        decoder_config=decoder,
        num_labels=task.num_classes,
        fpn_feature_size=width,
        mask_feature_size=width,
        use_auxiliary_loss=True,
    )
    network = build_network(PublishedMaskFormer, config, options.library_weights, EXAMPLE)
    loss = SetLoss(class_weight=1.0, mask_weight=20.0, dice_weight=1.0, mask_term="focal")
    return AnySize(lenient(Universal(without_unused(network), predict, loss)), STRIDE)
