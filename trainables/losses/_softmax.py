"""What every loss on a softmax asks of its options."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from segsweep.trainables.components import Problem, Task

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]  # 0 leaves a class out of the loss


def softmax_problems(task: Task, option: str = "", weights: Sequence[float] | None = None) -> Iterator[Problem]:
    """Why a softmax loss does not fit the task; `option` names the list with one weight per class."""
    if task.num_classes < 2:
        message = f"a softmax loss needs at least 2 classes, the dataset has {task.num_classes}"
        yield Problem("", f"{message}; list the background too")
    if weights is None:
        return
    if len(weights) != task.num_classes:
        yield Problem(option, f"{len(weights)} weights for {task.num_classes} classes; give one per class, in order")
    elif not any(weights):
        yield Problem(option, "every weight is 0, so nothing would be learned; give at least one class a weight")
