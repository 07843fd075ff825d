"""Cross entropy of the softmax, averaged over the labelled pixels, with optional class weights.

Weights from class frequencies: ENet's 1 / ln(1.02 + p) (Paszke et al. 2016), median frequency balancing
(Eigen and Fergus 2015) and 1 / sqrt(p). Uncapped weights ruin training on rare classes (ratios of 400
are on record), hence `max_weight_ratio`. Label smoothing: Szegedy et al. 2016, section 7.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from segsweep.trainables.components import ComponentOptions, LossContext, Problem, Task
from segsweep.trainables.losses._softmax import Weight, softmax_problems

if TYPE_CHECKING:
    from torch import Tensor, nn

Balance = Literal["inverse_sqrt", "median_frequency", "enet"]


class Options(ComponentOptions):
    class_weights: Literal["none"] | Balance | tuple[Weight, ...] = "none"
    max_weight_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 10.0  # heaviest to lightest class
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


def check(options: Options, task: Task) -> Iterable[Problem]:
    listed = None if isinstance(options.class_weights, str) else options.class_weights
    return softmax_problems(task, "class_weights", listed)


def balanced_weights(frequencies: Tensor, balance: Balance, max_ratio: float) -> Tensor:
    """Class weights (C,), the lightest 1, none above `max_ratio`; classes without a pixel get the heaviest.

    frequencies: (C,) share of the labelled pixels. Median frequency balancing takes a class's share of all labelled
    pixels here, not only of those images that show it.
    """
    match balance:
        case "inverse_sqrt":
            weights = frequencies.rsqrt()
        case "median_frequency":
            weights = frequencies[frequencies > 0].median() / frequencies
        case "enet":
            weights = 1 / (1.02 + frequencies).log()
    return (weights / weights.min()).clamp(max=max_ratio)


def build(options: Options, context: LossContext) -> nn.Module:
    import torch
    from torch import nn
    from torch.nn import functional as F

    from segsweep.trainables.masked_loss import masked_mean

    class CrossEntropy(nn.Module):
        """sum(w * l) / sum(w) over valid pixels; w is the weight of a pixel's class, for smoothed labels too."""

        weights: Tensor | None

        def __init__(self, weights: Tensor | None) -> None:
            super().__init__()
            self.register_buffer("weights", weights)

        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=options.label_smoothing)
            return masked_mean(losses, valid, None if self.weights is None else self.weights[labels])

    weights: Tensor | None
    match options.class_weights:
        case "none":
            weights = None
        case "inverse_sqrt" | "median_frequency" | "enet" as balance:
            weights = balanced_weights(context.class_frequencies(), balance, options.max_weight_ratio).float()
        case listed:
            weights = torch.tensor(listed)
    return CrossEntropy(weights)
