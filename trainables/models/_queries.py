"""What the networks of set prediction ask of their task."""

from __future__ import annotations

from collections.abc import Iterator

from segsweep.trainables.components import Problem, Task


def query_problems(queries: int, task: Task) -> Iterator[Problem]:
    """Why so few queries cannot be matched with the classes of an image."""
    if queries < task.num_classes:
        message = f"an image may show {task.num_classes} classes, and each takes a query of its own"
        yield Problem("queries", f"{message}; give at least {task.num_classes}, not {queries}")
