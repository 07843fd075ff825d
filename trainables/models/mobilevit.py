"""MobileViT (Mehta and Rastegari 2022) with the head of DeepLabV3: convolutions with transformers between them.

apple/mobilevit-*, deeplabv3-mobilevit-* have weights, licensed by Apple (apple-amlr on the hub). They get images in
[0, 1] with blue first, as they were trained (transformers' processor); the network itself turns RGB round, always.
Pascal VOC 2012 val mIoU (Apple's repository ml-cvnets 0.1): xx_small 72.8, x_small 77.1, small 79.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.data.normalization import UNIT
from segsweep.trainables.models._transformers import TransformersOptions, build_network, weights_problems

if TYPE_CHECKING:
    from torch import nn

EXAMPLE = "apple/deeplabv3-mobilevit-small"
STRIDE = 32
VARIANTS = {
    "xx_small": ([64, 80, 96], [16, 16, 24, 48, 64, 80, 320], 2.0),
    "x_small": ([96, 120, 144], [16, 32, 48, 64, 80, 96, 384], 4.0),
    "small": ([144, 192, 240], [16, 32, 64, 96, 128, 160, 640], 4.0),
}
"""Widths of the transformers and of the convolutions, and expansion: table 4 of the paper."""


class Options(TransformersOptions):
    expects = UNIT
    most_stages = 5

    encoder: Literal["xx_small", "x_small", "small"] = "small"
    output_stride: Literal[8, 16, 32] = 16  # of the encoder, by dilation
    decoder_width: PositiveInt = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1  # before the classifier


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return "cnn"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return weights_problems(options, EXAMPLE)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from transformers import MobileViTConfig, MobileViTForSemanticSegmentation

    from segsweep.trainables.models._norms import lenient
    from segsweep.trainables.models._sizes import AnySize, LogitsOf

    widths, necks, expansion = VARIANTS[options.encoder]
    config = MobileViTConfig(
        hidden_sizes=widths,
        neck_hidden_sizes=necks,
        expand_ratio=expansion,
        aspp_out_channels=options.decoder_width,
        num_channels=task.in_channels,
        num_labels=task.num_classes,
        output_stride=options.output_stride,
        classifier_dropout_prob=options.dropout,
    )
    network = build_network(MobileViTForSemanticSegmentation, config, options.library_weights, EXAMPLE)
    return AnySize(lenient(LogitsOf(network, blue_first=task.in_channels == 3)), STRIDE)
