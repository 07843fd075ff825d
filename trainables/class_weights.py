"""Class weights for losses: listed by the user, or balanced by how often each class is labelled in the train split.

p is a class's share of the labelled pixels, so void is not counted. Balanced weights are

    inverse_sqrt       1 / sqrt(p)
    median_frequency   median(p) / p             Eigen and Fergus 2015, section 4.3 (arXiv:1411.4734)
    enet               1 / ln(1.02 + p)          Paszke et al. 2016, section 5.2 (arXiv:1606.02147)
    effective_number   (1 - b) / (1 - b^n)       Cui et al. 2019, equation 3 (arXiv:1901.05555), with b = 0.999

then capped (`weights_cap`: ratios of 400 are on record as ruining training) and scaled so that a labelled train pixel
weighs 1 on average: a loss that does not divide by the weights keeps its size, so the learning rate its meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from segsweep.trainables.components import ComponentOptions, Problem, Task

if TYPE_CHECKING:
    from torch import Tensor

Balance = Literal["inverse_sqrt", "median_frequency", "enet", "effective_number"]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]  # 0 leaves a class out of the loss

BETA = 0.999
SAMPLES = 10_000  # what all labelled pixels count as: neighbours are alike, and by their real number every n is enough


class WeightedOptions(ComponentOptions):
    """Options of a loss that takes class weights."""

    class_weights: Literal["none"] | Balance | tuple[Weight, ...] = "none"  # a list: one per class, in order
    weights_cap: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 10.0  # heaviest to lightest, of balanced ones


def weight_problems(options: WeightedOptions, task: Task) -> Iterator[Problem]:
    """Why listed weights do not fit the classes."""
    listed = options.class_weights
    if isinstance(listed, str):
        return
    if len(listed) != task.num_classes:
        message = f"{len(listed)} weights for {task.num_classes} classes; give one per class, in order"
        yield Problem("class_weights", message)
    elif not any(listed):
        message = "every weight is 0, so nothing would be learned; give at least one class a weight"
        yield Problem("class_weights", message)


def class_weights(options: WeightedOptions, frequencies: Callable[[], Tensor]) -> Tensor | None:
    """(C,) float32, or None where every class weighs the same; `frequencies` is LossContext.class_frequencies."""
    import torch

    match options.class_weights:
        case "none":
            return None
        case "inverse_sqrt" | "median_frequency" | "enet" | "effective_number" as balance:
            return balanced_weights(frequencies(), balance, options.weights_cap).float()
        case listed:
            return torch.tensor(listed)


def balanced_weights(frequencies: Tensor, balance: Balance, cap: float) -> Tensor:
    """(C,) weights, none above `cap` times the lightest; their mean over labelled train pixels is 1.

    frequencies: (C,) share of the labelled pixels. A class without a pixel gets the heaviest weight there is: where it
    turns up after all, in validation, it is a rare one. Median frequency balancing takes a class's share of all
    labelled pixels here, not only of those images that show it.
    """
    weights = _raw_weights(frequencies, balance)
    weights = (weights / weights.min()).clamp(max=cap)
    return weights / (frequencies * weights).sum()


def _raw_weights(frequencies: Tensor, balance: Balance) -> Tensor:
    match balance:
        case "inverse_sqrt":
            return frequencies.rsqrt()
        case "median_frequency":
            return frequencies[frequencies > 0].median() / frequencies
        case "enet":
            return 1 / (1.02 + frequencies).log()
        case "effective_number":
            return (1 - BETA) / (1 - BETA ** (SAMPLES * frequencies))
