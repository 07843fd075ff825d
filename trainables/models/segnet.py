"""SegNet (Badrinarayanan et al. 2017): VGG16 without its classifier, mirrored; the decoder puts maxima back in place.

The encoder remembers where each maximum was, and the decoder writes there (max-unpooling). 29 M parameters, always
trained from scratch here. CamVid's 11-class version of the images is this paper's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.model_options import ModelOptions

if TYPE_CHECKING:
    from torch import nn


class Options(ModelOptions):
    most_stages = 5

    width: PositiveInt = 64  # channels of the first stage; VGG16's 64, 128, 256, 512, 512 in proportion


def encoder(options: Options) -> str:
    return "vgg16" if options.width == 64 else f"vgg16-width{options.width}"


def family(options: Options) -> Family:
    return "cnn"


def check(options: Options, task: Task) -> Iterable[Problem]:
    """Any size fits, and a batch of one trains."""
    return ()


def build(options: Options, task: Task) -> nn.Module:
    from torch import nn

    from segsweep.trainables.models._encoder_decoder import EncoderDecoder
    from segsweep.trainables.models._segnet import STAGES, Decoder, Encoder
    from segsweep.trainables.models._sizes import AnySize

    head = nn.Conv2d(options.width, task.num_classes, 3, padding=1)
    network = EncoderDecoder(Encoder(task.in_channels, options.width), Decoder(options.width), head)
    return AnySize(network, 2 ** len(STAGES))
