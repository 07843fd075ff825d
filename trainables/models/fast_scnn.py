"""Fast-SCNN (Poudel et al. 2019): two branches that share their first layers; 1.1 M parameters, from scratch.

Auxiliary heads at the end of the shared layers and of the global features, as in the paper. Published: Cityscapes test
68.0 (paper), val 70.96 (mmsegmentation, 160,000 iterations, single scale).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.model_options import ModelOptions

if TYPE_CHECKING:
    from torch import nn


class Options(ModelOptions):
    most_stages = 4

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    auxiliary_weight: Annotated[float, Field(ge=0)] = 0.4  # of each auxiliary head


def encoder(options: Options) -> str:
    return "fast_scnn"


def family(options: Options) -> Family:
    return "cnn"


def check(options: Options, task: Task) -> Iterable[Problem]:
    """Any size fits, and a batch of one trains."""
    return ()


def build(options: Options, task: Task) -> nn.Module:
    from torch import nn

    from segsweep.trainables.models._blocks import separable
    from segsweep.trainables.models._encoder_decoder import EncoderDecoder, fcn_head
    from segsweep.trainables.models._fast_scnn import GLOBAL, SHARED, STRIDE, Encoder, Fusion
    from segsweep.trainables.models._sizes import AnySize

    decoder = nn.Sequential(Fusion(), separable(GLOBAL, GLOBAL), separable(GLOBAL, GLOBAL), nn.Dropout(options.dropout))
    on = {0: SHARED, -1: GLOBAL}  # maps of the encoder, and their channels
    auxiliary = {at: fcn_head(channels, 32, task.num_classes, options.dropout) for at, channels in on.items()}
    head = nn.Conv2d(GLOBAL, task.num_classes, 1)
    network = EncoderDecoder(Encoder(task.in_channels), decoder, head, auxiliary, options.auxiliary_weight)
    return AnySize(network, STRIDE)
