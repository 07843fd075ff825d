"""Data2Vec-Vision (Baevski et al. 2022) with UPerNet: BEiT's network, pre-trained on its own averaged features.

It is about its weights: facebook/data2vec-vision-base, data2vec-vision-large and their -ft1k (Apache 2.0). There are
none of vit_tiny and vit_small, and the paper reports no segmentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from segsweep.trainables.components import Family, Problem, Task
from segsweep.trainables.models._beit import BeitOptions, build_beit
from segsweep.trainables.models._transformers import weights_problems

if TYPE_CHECKING:
    from torch import nn

EXAMPLE = "facebook/data2vec-vision-base"


class Options(BeitOptions): ...


def encoder(options: Options) -> str:
    return options.encoder


def family(options: Options) -> Family:
    return "transformer"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return weights_problems(options, EXAMPLE)


def build(options: Options, task: Task) -> nn.Module:
    """Raises WeightsError if the weights cannot be had or are of another encoder."""
    from transformers import Data2VecVisionConfig, Data2VecVisionForSemanticSegmentation

    return build_beit(Data2VecVisionForSemanticSegmentation, Data2VecVisionConfig, options, task, EXAMPLE)
