"""U-Net's cross entropy, which counts pixels between close objects more (Ronneberger et al. 2015, section 3).

    w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2))

with d1 and d2 the distances in pixels from the nearest and the second nearest object, and w_c the weight of the
pixel's class (1 if `class_weights` is none). The paper's objects are cells. Here they are the connected regions
(8 neighbours) of every class, so that weight lies along all borders of classes, or of every class but `background`,
as in the paper. Void belongs to no object. The mean is sum(w l) / sum(w), so the learning rate keeps its meaning;
the paper sums. Own code.

The weights take one CPU core about 0.05 s for an image of 512x1024 with 40 objects, at every step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.class_weights import WeightedOptions, class_weights, weight_problems
from segsweep.trainables.components import VOID, LossContext, Problem, Task
from segsweep.trainables.losses._activation import class_count_problems
from segsweep.trainables.losses._distances import distances_to

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor, nn

REACH = 6  # sigmas; farther than this from its objects a pixel's border weight is below 2e-8 of w0


class Options(WeightedOptions):
    w0: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    sigma: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0  # pixels
    background: Annotated[int, Field(ge=0)] | None = None  # number of the class whose regions are no objects


def check(options: Options, task: Task) -> Iterable[Problem]:
    yield from class_count_problems(task)
    yield from weight_problems(options, task)
    if options.background is not None and options.background >= task.num_classes:
        message = f"{options.background} is the number of no class; the {task.num_classes} classes count from 0"
        yield Problem("background", message)


def build(options: Options, context: LossContext) -> nn.Module:
    import torch
    from torch import nn
    from torch.nn import functional as F

    from segsweep.trainables.masked_loss import masked_mean

    class BorderWeightedCrossEntropy(nn.Module):
        weights: Tensor | None

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weights", class_weights(options, context.class_frequencies))

        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            losses = F.cross_entropy(logits, labels, reduction="none")
            maps = labels.masked_fill(~valid, VOID).byte().numpy(force=True)
            border = torch.stack([torch.from_numpy(border_weights(map_, options)) for map_ in maps]).to(losses)
            return masked_mean(losses, valid, border + (1 if self.weights is None else self.weights[labels]))

    return BorderWeightedCrossEntropy()


def border_weights(label: npt.NDArray[np.uint8], options: Options) -> npt.NDArray[np.float32]:
    """w0 exp(-(d1 + d2)^2 / (2 sigma^2)) for one image; label: (H, W), 0..C-1 or VOID."""
    import numpy as np

    reach = int(np.ceil(REACH * options.sigma))
    nearest = np.full((2, *label.shape), np.inf, np.float32)  # d1 and d2 so far
    for window, object_ in _objects(label, options.background, reach):
        d1, d2 = nearest[(slice(None), *window)]
        distance = distances_to(object_)
        np.minimum(d2, np.maximum(d1, distance), out=d2)
        np.minimum(d1, distance, out=d1)
    weights: npt.NDArray[np.float32] = np.exp(-(nearest.sum(axis=0) ** 2) / np.float32(2 * options.sigma**2))
    return np.float32(options.w0) * weights


def _objects(
    label: npt.NDArray[np.uint8], background: int | None, reach: int
) -> Iterator[tuple[tuple[slice, slice], npt.NDArray[np.bool_]]]:
    """Each object's window of the image, `reach` pixels around it, and its mask there."""
    import cv2
    import numpy as np

    for class_ in np.setdiff1d(label, [VOID, *([] if background is None else [background])]):
        count, regions, boxes, _ = cv2.connectedComponentsWithStats((label == class_).view(np.uint8), connectivity=8)
        for number in range(1, count):  # 0 is all that is not the class
            x, y, width, height, _ = boxes[number]
            window = slice(max(0, y - reach), y + height + reach), slice(max(0, x - reach), x + width + reach)
            yield window, regions[window] == number
