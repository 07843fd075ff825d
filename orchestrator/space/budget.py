"""What a sweep may cost at most."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from segsweep.trainables.config import Frozen

LIMITS = "trials, epochs, gpu_hours, wall_hours"
Hours = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Number = Annotated[int, Field(ge=1)]


class Budget(Frozen):
    """A hard stop: the sweep ends at whichever limit it meets first, with every trial saved."""

    trials: Number | None = None
    epochs: Number | None = None  # of all trials together
    gpu_hours: Hours | None = None  # hours of trials times the GPUs of each
    wall_hours: Hours | None = None  # while a driver runs, over all of them

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError(f"must hold one or more of {LIMITS}")
        return self

    def __str__(self) -> str:
        """ "500 epochs, 12 GPU-hours" """
        units = {"trials": "trials", "epochs": "epochs", "gpu_hours": "GPU-hours", "wall_hours": "hours"}
        return ", ".join(f"{limit:g} {units[name]}" for name, limit in self.model_dump(exclude_none=True).items())
