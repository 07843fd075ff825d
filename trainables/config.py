"""TrialConfig: everything that decides a trial's numbers, as plain values. Frozen; survives JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Entry(Frozen):
    """One chosen component: `type` is its name in the catalogue, `name` what users read on the leaderboard."""

    type: str
    name: str
    options: dict[str, JsonValue] = {}


class Objective(Frozen):
    metric: str = "val_miou"
    mode: Literal["min", "max"] = "max"

    def better(self, value: float, than: float | None) -> bool:
        """True if `value` beats `than`; anything beats None, NaN beats nothing."""
        if than is None:
            return value == value
        return value > than if self.mode == "max" else value < than


class TrialConfig(Frozen):
    """One configuration to train once."""

    trial_id: str  # unique in the sweep, e.g. "017"
    dataset: Entry
    model: Entry
    loss: Entry
    optimizer: Entry
    lr_schedule: Entry
    augmentation: Entry
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    image_size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]  # height, width fed to the network
    seed: Annotated[int, Field(ge=0)]
    objective: Objective = Objective()
    patience: Annotated[int, Field(ge=1)] | None = None  # epochs without a new best before the trial finishes
    plugins: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """`segformer-b0 dice adamw #017`"""
        return f"{self.model.name} {self.loss.name} {self.optimizer.name} #{self.trial_id}"
