"""What every loss on a softmax asks of its task."""

from __future__ import annotations

from collections.abc import Iterator

from segsweep.trainables.components import Problem, Task


def softmax_problems(task: Task) -> Iterator[Problem]:
    """Why a softmax loss does not fit the task."""
    if task.num_classes < 2:
        message = f"a softmax loss needs at least 2 classes, the dataset has {task.num_classes}"
        yield Problem("", f"{message}; list the background too")
