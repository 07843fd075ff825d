"""MobileNetV2 (Sandler et al. 2018) with its light DeepLabV3 head, the version of transformers.

The head has a 1x1 convolution and the image's mean, no dilated convolutions. google/mobilenet_v2_1.0_224 and
google/deeplabv3_mobilenet_v2_1.0_513 have weights (licence `other` on the hub), trained on images in [-1, 1].
Pascal VOC 2012 val mIoU (tensorflow/models, DeepLab's model zoo, output stride 16, with COCO): 75.32.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.data.normalization import HALF
from segsweep.trainables.models._transformers import TransformersOptions, build_network, weights_problems, without

if TYPE_CHECKING:
    from torch import nn

EXAMPLE = "google/mobilenet_v2_1.0_224"
STRIDE = 32


class Options(TransformersOptions):
    expects = HALF

    encoder: Literal["width_0.35", "width_0.5", "width_0.75", "width_1.0", "width_1.4"] = "width_1.0"
    output_stride: Literal[8, 16, 32] = 16  # of the encoder, by dilation
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1  # before the classifier


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return "cnn"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return weights_problems(options, EXAMPLE)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from transformers import MobileNetV2Config, MobileNetV2ForSemanticSegmentation

    from segsweep.trainables.models._norms import lenient
    from segsweep.trainables.models._sizes import AnySize, LogitsOf

    config = MobileNetV2Config(
        depth_multiplier=float(options.encoder.removeprefix("width_")),
        finegrained_output=False,
        num_channels=task.in_channels,
        num_labels=task.num_classes,
        output_stride=options.output_stride,
        classifier_dropout_prob=options.dropout,
    )
    network = build_network(MobileNetV2ForSemanticSegmentation, config, options.library_weights, EXAMPLE)
    without(network, "mobilenet_v2.conv_1x1")  # of the classifier
    return AnySize(lenient(LogitsOf(network)), STRIDE)
