"""BEiT (Bao et al. 2022) with UPerNet: a vision transformer pre-trained on masked visual tokens.

It is about its weights: microsoft/beit-base-patch16-224-pt22k-ft22k, beit-large-... and the whole networks
beit-base-finetuned-ade-640-640, beit-large-... (Apache 2.0). There are none of vit_tiny and vit_small.
ADE20K val mIoU at 640 px, single scale / multi-scale and flip (mmsegmentation): B 53.08/53.84, L 56.33/56.84.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._beit import BeitOptions, build_beit
from segsweep.trainables.models._transformers import weights_problems

if TYPE_CHECKING:
    from torch import nn

EXAMPLE = "microsoft/beit-base-patch16-224-pt22k-ft22k"


class Options(BeitOptions): ...


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return "transformer"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return weights_problems(options, EXAMPLE)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from transformers import BeitConfig, BeitForSemanticSegmentation

    return build_beit(BeitForSemanticSegmentation, BeitConfig, options, task, EXAMPLE)
