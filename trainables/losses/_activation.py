"""How a loss reads logits, and what it asks of its task.

A pixel has one class and the likeliest is predicted, so there are C >= 2 classes and as many logits.

    softmax  classes compete; with two, p is the sigmoid of the logits' difference, which is what binary losses see
    sigmoid  every class by itself against the rest, as multilabel networks are trained
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from segsweep.trainables.components import Problem, Task

if TYPE_CHECKING:
    from torch import Tensor

Activation = Literal["softmax", "sigmoid"]


def class_count_problems(task: Task) -> Iterator[Problem]:
    """Why no loss fits the task."""
    if task.num_classes < 2:
        message = f"a loss needs at least 2 classes, the dataset has {task.num_classes}"
        yield Problem("", f"{message}; list the background too")


def probabilities(logits: Tensor, activation: Activation) -> Tensor:
    """(N, C, H, W) in [0, 1]."""
    return logits.softmax(dim=1) if activation == "softmax" else logits.sigmoid()


def class_maps(labels: Tensor, valid: Tensor, num_classes: int) -> Tensor:
    """(N, C, H, W) bool, true where a valid pixel is of the class; an eighth of the memory of F.one_hot."""
    import torch

    classes = torch.arange(num_classes, device=labels.device)[:, None, None]
    return (labels[:, None] == classes) & valid[:, None]
