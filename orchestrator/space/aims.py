"""What a sweep seeks: its objective, further objectives that are traded off against it, and what a trial may cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

from pydantic import Field, model_validator

from segsweep.trainables.config import Frozen, Objective

if TYPE_CHECKING:
    from segsweep.orchestrator.record.trials import TrialState


NO_BOUNDS = "must be {max: NUMBER}, {min: NUMBER} or both"


class Bounds(Frozen):
    """Between which values a metric may lie, both included."""

    min: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    max: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        if not isinstance(value, Mapping | Bounds):
            raise ValueError(NO_BOUNDS)
        return value

    @model_validator(mode="after")
    def _some_room(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError(NO_BOUNDS)
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("must have a min of at most its max")
        return self

    def excess(self, value: float) -> float:
        """How far outside, as a share of the bound, so that metrics of different units compare; 0 or less: inside."""
        over = -math.inf if self.max is None else (value - self.max) / self.max
        under = -math.inf if not self.min else (self.min - value) / self.min
        return max(over, under)

    def refusal(self, value: float) -> str:
        """ "is above max 30"; "" for a value inside."""
        if self.max is not None and value > self.max:
            return f"is above max {self.max:g}"
        if self.min is not None and value < self.min:
            return f"is below min {self.min:g}"
        return ""


class Aim(NamedTuple):
    objective: Objective = Objective()  # decides rungs, patience, best and leaderboard
    more_objectives: tuple[Objective, ...] = ()  # the searcher seeks the Pareto front of all of them
    constraints: Mapping[str, Bounds] = {}  # metric -> what it may be

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return (self.objective, *self.more_objectives)

    def outside(self, trial: TrialState) -> str:
        """Why the trial is infeasible, by what is known so far: "params_m 44 is above max 30"; "" if it is not."""
        broken = (
            f"{name} {value:.4g} {refusal}"
            for name, bounds in self.constraints.items()
            if (value := trial.measured(name)) is not None and (refusal := bounds.refusal(value))
        )
        return "; ".join(broken)

    def excesses(self, trial: TrialState) -> dict[str, float]:
        """How far outside each constraint the trial is (see Bounds.excess), by metric; what is not known is missing."""
        known = ((name, bounds, trial.measured(name)) for name, bounds in self.constraints.items())
        return {name: bounds.excess(value) for name, bounds, value in known if value is not None}

    def missing(self, trial: TrialState) -> str:
        """What a trial that has trained an epoch should have reported: "reports no gmacs"; "" if it has."""
        if trial.best_epoch is None:
            return ""  # what it reported has not even a value of the objective
        asked = dict.fromkeys([*(more.metric for more in self.more_objectives), *self.constraints])
        missing = [name for name in asked if trial.measured(name) is None]
        return f"reports no {' and no '.join(missing)}, which more_objectives or constraints name" if missing else ""
