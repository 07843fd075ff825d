"""The one change to the authors' schedule-free AdamW: what is frozen does not age."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import schedulefree


class AdamWScheduleFree(schedulefree.AdamWScheduleFree):
    """Counts the updates of a group, for its bias correction and its average, only while the group has gradients.

    The package counts them for all groups alike. Weights thawed late would then be averaged as if they had stood still
    on purpose, and their first updates would be up to 30 times too large.
    """

    param_groups: list[dict[str, Any]]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        groups = self.param_groups
        self.param_groups = [group for group in groups if any(p.grad is not None for p in group["params"])]
        try:
            loss: float | None = super().step(closure)
            return loss
        finally:
            self.param_groups = groups
