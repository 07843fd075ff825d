"""MobileViTV2 (Mehta and Rastegari 2022) with the head of DeepLabV3: MobileViT with attention of linear cost.

apple/mobilevitv2-1.0-imagenet1k-256, mobilevitv2-1.0-voc-deeplabv3 and others have weights, licensed by Apple. They get
images in [0, 1], red first: transformers' pages say blue first, as of MobileViT, but Apple's repository (ml-cvnets)
reads images as RGB since version 0.2, which trained these.
Val mIoU (same repository), Pascal VOC 2012: 0.5 75.07, 1.0 78.94, 1.5 80.30; ADE20K: 0.5 31.93, 1.0 37.06, 2.0 40.94.
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

EXAMPLE = "apple/mobilevitv2-1.0-imagenet1k-256"
STRIDE = 32


class Options(TransformersOptions):
    expects = UNIT
    most_stages = 5

    encoder: Literal["width_0.5", "width_0.75", "width_1.0", "width_1.25", "width_1.5", "width_1.75", "width_2.0"] = (
        "width_1.0"
    )
    output_stride: Literal[8, 16, 32] = 16  # of the encoder, by dilation
    decoder_width: PositiveInt = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1  # before the classifier


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return "cnn"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return weights_problems(options, EXAMPLE)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from transformers import MobileViTV2Config, MobileViTV2ForSemanticSegmentation

    from segsweep.trainables.models._norms import lenient
    from segsweep.trainables.models._sizes import AnySize, LogitsOf

    config = MobileViTV2Config(
        width_multiplier=float(options.encoder.removeprefix("width_")),
        aspp_out_channels=options.decoder_width,
        num_channels=task.in_channels,
        num_labels=task.num_classes,
        output_stride=options.output_stride,
        classifier_dropout_prob=options.dropout,
    )
    network = build_network(MobileViTV2ForSemanticSegmentation, config, options.library_weights, EXAMPLE)
    return AnySize(lenient(LogitsOf(network)), STRIDE)
