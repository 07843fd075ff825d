"""OneFormer (Jain et al. 2023), the version of transformers, with its task token set to "semantic".

Mask2Former's network, whose queries start from the task. It trains with its own loss (class 2, mask 5, dice 5, after
every decoder layer), which sees labelled pixels only (see _set_loss.py). The contrast of queries with texts is left
out: its texts are the names of classes, which networks do not know here, and it tells tasks apart, of which there is
one. shi-labs/oneformer_*_swin_* have weights of whole networks (MIT).
Cityscapes val mIoU: Swin-L 83.0; ADE20K: Swin-L 57.0 (paper's repository, single scale).
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
EXAMPLE = "shi-labs/oneformer_cityscapes_swin_large"
TASK = (49406, 518, 10549, 533, 29119, 1550, 49407)  # "the task is semantic" as CLIP's tokens; the rest is zero


class Options(TransformersOptions):
    most_stages = 4

    encoder: Backbone = "swin_tiny"
    window: Literal[7, 12] = 7  # of Swin's attention: 12 with weights of 384 px
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.3  # stochastic depth of Swin and ConvNeXt
    queries: PositiveInt = 150
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
    import torch
    from transformers import OneFormerConfig, OneFormerForUniversalSegmentation

    from segsweep.trainables.models._norms import lenient
    from segsweep.trainables.models._set_loss import SetLoss, SetPrediction
    from segsweep.trainables.models._sizes import AnySize
    from segsweep.trainables.models._universal import Universal

    def predict(network: Any, images: Tensor) -> list[SetPrediction]:
        task_inputs = torch.zeros(len(images), config.task_seq_len, device=images.device)
        task_inputs[:, : len(TASK)] = images.new_tensor(TASK)
        outputs = network(images, task_inputs, output_auxiliary_logits=True)
        layers = [*outputs.auxiliary_predictions, outputs]
        return [SetPrediction(layer["class_queries_logits"], layer["masks_queries_logits"]) for layer in layers]

    backbone: Any = backbone_config(options.encoder, task.in_channels, options.window, options.drop_path)
    width = options.decoder_width
    config = OneFormerConfig(
        backbone_config=backbone,
        num_labels=task.num_classes,
        num_queries=options.queries,
        decoder_layers=options.decoder_layers + 1,  # theirs counts the queries before the first layer
        encoder_layers=options.pixel_decoder_layers,
        hidden_dim=width,
        conv_dim=width,
        mask_dim=width,
        encoder_feedforward_dim=4 * width,
        dim_feedforward=8 * width,
    )
    network = build_network(OneFormerForUniversalSegmentation, config, options.library_weights, EXAMPLE)
    loss = SetLoss(class_weight=2.0, mask_weight=5.0, dice_weight=5.0)
    return AnySize(lenient(Universal(without_unused(network), predict, loss)), STRIDE)
