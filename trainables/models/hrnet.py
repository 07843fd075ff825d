"""HRNetV2 (Wang et al. 2020, Deep High-Resolution Representation Learning): four resolutions kept side by side.

The encoder is timm's; the head brings its maps of strides 4, 8, 16 and 32 to a stride of 4 and classifies all of them
together. Parameters and GMAC at 2048x1024, 19 classes: W18-small 1.5 M and 33.4, W18-small-v2 3.9 M and 76.9, W48
65.9 M and 747.5, as in the authors' repository (which counts in units of 2^30: 31.1, 71.6, 696.2); W18 9.6 M and 147.4,
W40 45.9 M and 535.5. Published (mmsegmentation, single scale): Cityscapes val W18-small 75.31, W18 78.65, W48 79.93
(80.65 in 160,000 iterations); ADE20K val W18 36.79, W48 42.02. Encoders come without weights by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models import _encoders as encoders
from segsweep.trainables.models._smp import STRIDE, SmpOptions, problems, weights_at_hand
from segsweep.trainables.weights.sources import encoder_source

if TYPE_CHECKING:
    from torch import nn

PREFIX = "tu-hrnet_w"


class Options(SmpOptions):
    encoder: str = "tu-hrnet_w18"  # or another HRNet of timm, from tu-hrnet_w18_small to tu-hrnet_w64


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return "cnn"


def check(options: Options, task: Task) -> Iterator[Problem]:
    yield from problems(options, task)
    if encoders.find(options.encoder) and not options.encoder.startswith(PREFIX):
        known = ", ".join(name for name in encoders.names() if name.startswith(PREFIX))
        yield Problem("encoder", f"{options.encoder} is no HRNet; known: {known}")


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError."""
    import timm
    from torch import nn

    from segsweep.trainables.models._blocks import conv
    from segsweep.trainables.models._encoder_decoder import EncoderDecoder
    from segsweep.trainables.models._hrnet import Together
    from segsweep.trainables.models._sizes import AnySize

    with weights_at_hand(options):
        branches = timm.create_model(
            options.encoder.removeprefix("tu-"),
            pretrained=encoder_source(options.encoder_weights).kind == "name",
            in_chans=task.in_channels,
            features_only=True,
            feature_location="",  # the branches themselves; "incre" would widen them, as for classification
            out_indices=(1, 2, 3, 4),
        )
    channels = sum(branches.feature_info.channels())
    decoder = nn.Sequential(Together(), conv(channels, channels, 1))
    return AnySize(EncoderDecoder(branches, decoder, nn.Conv2d(channels, task.num_classes, 1)), STRIDE)
