"""TrialConfig: everything that decides a trial's numbers, as plain values. Frozen; survives JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from segsweep.trainables.metric_names import metric_named

Side = Annotated[int, Field(ge=8)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Precision = Literal["auto", "float32", "bf16", "fp16"]
AutoOr = bool | Literal["auto"]
Scale = Annotated[float, Field(ge=0.25, le=4)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Entry(Frozen):
    """One chosen component: `type` is its name in the catalogue, `name` what users read on the leaderboard."""

    type: str
    name: str
    options: dict[str, JsonValue] = {}


class Objective(Frozen):
    metric: str = "val_miou"
    mode: Literal["min", "max"] = Field(default_factory=lambda data: metric_named(data.get("metric", "")).better)

    def better(self, value: float, than: float | None) -> bool:
        """True if `value` beats `than`; anything beats None, NaN beats nothing."""
        if than is None:
            return value == value
        return value > than if self.mode == "max" else value < than

    def goodness(self, metrics: Mapping[str, float]) -> float:
        """The objective's value, negated where lower is better."""
        return metrics[self.metric] if self.mode == "max" else -metrics[self.metric]


class Evaluation(Frozen):
    """How a split is scored: always on the labels at original size, whatever the network is fed.

    Windows are cut from the image at `image_size` and their logits averaged; views (scales, mirrored) are averaged as
    softmax probabilities. What comes out at `image_size` is resized to the label, then the likeliest class is taken.
    """

    method: Literal["whole", "sliding_window"] = "whole"
    window: Annotated[tuple[Side, Side] | None, Field(examples=[[512, 512]])] = None  # (height, width)
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.25  # share of a window that the next one covers again
    blend: Literal["mean", "gaussian"] = "mean"  # gaussian: a window's centre counts more than its rim
    flip: bool = False  # mirrored as well
    scales: Annotated[tuple[Scale, ...], Field(min_length=1)] = (1.0,)  # of image_size
    boundary: bool = False  # val_boundary_iou and val_boundary_f1 too
    boundary_distance: Annotated[float, Field(gt=0, le=0.5)] = 0.02  # share of the image's diagonal

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.method == "sliding_window") != (self.window is not None):
            raise ValueError("needs `window: [height, width]` with `method: sliding_window`, and only there")
        if len(set(self.scales)) < len(self.scales):
            raise ValueError("must name each of its `scales` once")
        return self

    @property
    def views(self) -> int:
        """How many predictions of an image are averaged."""
        return len(self.scales) * (1 + self.flip)

    def __str__(self) -> str:
        """What decides the scores that every trial has: "whole", "sliding_window 512x512 overlap 0.25 mean, flip"."""
        parts: list[str] = [self.method]
        if self.window:
            parts = [f"{self.method} {self.window[0]}x{self.window[1]} overlap {self.overlap:g} {self.blend}"]
        parts += ["flip"] * self.flip
        if self.scales != (1.0,):
            parts.append(f"scales {' '.join(f'{scale:g}' for scale in self.scales)}")
        return ", ".join(parts)


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
    evaluation: Evaluation = Evaluation()
    patience: Annotated[int, Field(ge=1)] | None = None  # epochs without a new best before the trial finishes
    accumulation: Annotated[int, Field(ge=1)] = 1  # batches whose gradients make one update
    clip_norm: Positive | None = None  # the longest that the gradient of all weights together may be
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # decay of the average of weights that is scored and saved
    precision: Precision = "auto"  # of the network; auto: bf16 on a GPU that has it, else float32
    channels_last: AutoOr = "auto"  # layout of images in memory; auto: on a GPU, for convolutional networks
    compile: bool = False  # the network, by torch.compile
    steps_per_epoch: Annotated[int, Field(ge=1)] | None = None  # updates; None: until every image was seen once
    test: bool = False  # score the test split too, once, with the weights of the best epoch
    plugins: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """`segformer-b0 dice adamw #017`"""
        return f"{self.model.name} {self.loss.name} {self.optimizer.name} #{self.trial_id}"
