"""SweepSpec: a search-space file with every default filled in. Frozen; survives JSON (the journal keeps it)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator

from segsweep.orchestrator.space.aims import Aim, Bounds
from segsweep.orchestrator.space.budget import Budget
from segsweep.orchestrator.space.confirm import Confirm
from segsweep.orchestrator.space.domains import sampled_options
from segsweep.orchestrator.space.own_losses import OWN, has_own_loss
from segsweep.orchestrator.space.source import KeyPath
from segsweep.trainables.config import AutoOr, Evaluation, Frozen, Objective, Precision

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


def sweep_name(text: str) -> str:
    """`text`, if a folder can have it as its name everywhere. Raises ValueError."""
    if not re.fullmatch(NAME, text):  # where `$` would let a line end pass
        raise ValueError("must be up to 100 letters, digits, '.', '_' or '-', the first a letter or digit")
    return text


def gpu_share(gpus: float) -> float:
    """`gpus`, if a trial can have so many. Raises ValueError."""
    if not (0 <= gpus <= 1 or (math.isfinite(gpus) and gpus > 1 and gpus == int(gpus))):
        raise ValueError("must be 'auto', from 0 to 1, since a trial may use a share of one GPU, or a whole number")
    return gpus


def as_objective(value: Any) -> Any:
    """`val_miou` is short for `{metric: val_miou}`."""
    return {"metric": value} if isinstance(value, str) else value


def as_size(value: Any) -> Any:
    """One size or a domain of them. Raises ValueError for what looks as if several should cross."""
    if isinstance(value, list | tuple) and any(isinstance(side, list | tuple) for side in value):
        raise ValueError("must be [height, width]; to search among several write {choice: [[256, 512], [512, 1024]]}")
    return tuple(value) if isinstance(value, list) else value  # strictly, a list is none once it was in Python's hands


PositiveInt = Annotated[int, Field(ge=1)]
GPUShare = Annotated[float, AfterValidator(gpu_share), Field(json_schema_extra={"minimum": 0})]
Memory = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Sought = Annotated[Objective, BeforeValidator(as_objective, json_schema_input_type=Objective | str)]
Domain = dict[str, JsonValue]  # in the YAML's notation
Count = PositiveInt | Domain
ClipNorm = Annotated[float, Field(gt=0, allow_inf_nan=False)] | Domain
Decay = Annotated[float, Field(gt=0, lt=1)] | Domain
Minutes = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=8)]
ImageSize = Annotated[
    tuple[Side, Side] | Domain, BeforeValidator(as_size, json_schema_input_type=tuple[Side, Side] | Domain)
]


class ComponentSpec(Frozen):
    """One entry of a list such as `models:`. Options may hold domains in the YAML's notation."""

    type: str
    name: Annotated[str, Field(min_length=1)]  # what users read; unique in its list
    options: dict[str, JsonValue] = Field(default_factory=dict)
    image_size: ImageSize | None = None  # datasets only: overrides the sweep's
    recipe: str | None = None  # models only: the recipe that `own` comes from where the file says nothing
    own: dict[str, tuple[ComponentSpec, ...]] = Field(default_factory=dict)  # models only: lists instead of the sweep's
    batch_size: Count | None = None  # models only, as all of SETTINGS: overrides the sweep's
    accumulation: Count | None = None
    clip_norm: ClipNorm | None = None
    ema: Decay | None = None
    precision: Precision | Domain | None = None
    channels_last: AutoOr | Domain | None = None
    compile: bool | Domain | None = None


class Resources(Frozen):
    """What one trial gets, all of it on one machine. Several GPUs or processes share the images of every batch."""

    cpus: PositiveInt = 1  # of all its processes together
    gpus: GPUShare | Literal["auto"] | None = None  # None: one if there are any; auto: a share that memory allows
    memory_gib: Memory | Literal["auto"] = "auto"  # of the host; auto: what a trial was measured to take; 0: no limit
    processes: PositiveInt | None = None  # that train it together; without GPUs only, which have one each

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.processes is not None and self.gpus != 0:
            raise ValueError("takes `processes` with `gpus: 0` only, since every GPU has one; leave either out")
        if self.cpus < self.team:
            raise ValueError(f"needs `cpus: {self.team}` or more, one for each of the {self.team} processes of a trial")
        return self

    @property
    def team(self) -> int:
        """How many processes train a trial together."""
        return self.processes or (1 if self.gpus in (None, "auto") else max(1, int(self.gpus)))


class Tracking(Frozen):
    uri: str | None = None  # None: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db in the current folder
    experiment: str = "segsweep"


class SweepSpec(Frozen):
    name: Annotated[str, AfterValidator(sweep_name), Field(json_schema_extra={"pattern": NAME})]
    datasets: Annotated[tuple[ComponentSpec, ...], Field(examples=[["streets"]])]
    models: Annotated[tuple[ComponentSpec, ...], Field(examples=[["unet", "segformer"]])]
    losses: tuple[ComponentSpec, ...] = (ComponentSpec(type="cross_entropy", name="cross_entropy"),)
    optimizers: tuple[ComponentSpec, ...] = (ComponentSpec(type="adamw", name="adamw"),)
    lr_schedules: tuple[ComponentSpec, ...] = (ComponentSpec(type="poly", name="poly"),)
    augmentations: tuple[ComponentSpec, ...] = (ComponentSpec(type="light", name="light"),)
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    trials: PositiveInt = 8  # per combination
    allocation: Literal["even", "adaptive"] = "even"  # adaptive: the same number in all, more to promising cells
    epochs: Annotated[int, Field(ge=1, examples=[30])]
    batch_size: Annotated[Count, Field(examples=[{"choice": [4, 8]}])] = 8
    image_size: Annotated[ImageSize, Field(examples=[[512, 1024]])]  # height, width; or {choice: [...]} of them
    patience: PositiveInt | None = None
    accumulation: Annotated[Count, Field(examples=[2])] = 1  # batches to an update
    clip_norm: Annotated[ClipNorm | None, Field(examples=[1.0])] = None  # length that a gradient is cut to
    ema: Annotated[Decay | None, Field(examples=[0.999])] = None  # averaged weights are scored and saved
    precision: Annotated[Precision | Domain, Field(examples=["bf16"])] = "auto"  # auto: bf16 on a GPU that has it
    channels_last: Annotated[AutoOr | Domain, Field(examples=[True])] = "auto"  # auto: on a GPU, for CNNs
    compile: Annotated[bool | Domain, Field(examples=[True])] = False  # by torch.compile
    steps_per_epoch: PositiveInt | None = None  # updates, instead of as many as show every image once
    objective: Annotated[Sought, Field(examples=["val_miou"])] = Objective()
    more_objectives: Annotated[tuple[Sought, ...], Field(examples=[["gmacs"]])] = ()
    constraints: Annotated[dict[str, Bounds], Field(examples=[{"params_m": {"max": 30}}])] = Field(default_factory=dict)
    evaluation: Annotated[Evaluation, Field(examples=[{"flip": True}])] = Evaluation()
    searcher: ComponentSpec = ComponentSpec(type="tpe", name="tpe")
    scheduler: ComponentSpec = ComponentSpec(type="asha_promotion", name="asha_promotion")
    warm_start: Annotated[tuple[str, ...], Field(examples=[["camvid-1"]])] = ()  # sweeps whose best values come first
    min_finished: PositiveInt = 1  # per cell
    max_failures: Annotated[int, Field(ge=0)] = 0  # how often a crashed trial is tried again
    max_epoch_minutes: Annotated[Minutes | None, Field(examples=[30])] = None  # then a trial hangs: it is ended, failed
    confirm: Annotated[Confirm | None, Field(examples=[{"top": 2, "seeds": 3}])] = None
    budget: Annotated[Budget | None, Field(examples=[{"wall_hours": 8}])] = None
    resources: Resources = Resources()
    max_concurrent: PositiveInt | None = None
    tracking: Tracking = Tracking()
    plugins: tuple[str, ...] = ()

    @property
    def aim(self) -> Aim:
        return Aim(self.objective, self.more_objectives, self.constraints)

    def setting(self, name: str, model: ComponentSpec) -> JsonValue:
        """One of SETTINGS for a model: its own, or else the sweep's."""
        own: JsonValue = getattr(model, name)
        return getattr(self, name) if own is None else own

    def image_size_of(self, dataset: ComponentSpec) -> JsonValue:
        """[height, width] or a domain of them: the dataset's own, or else the sweep's."""
        size = self.image_size if dataset.image_size is None else dataset.image_size
        return size if isinstance(size, dict) else list(size)

    def image_sizes(self, dataset: ComponentSpec) -> Iterator[tuple[int, int]]:
        """All that networks may be fed of a dataset. Raises DomainError."""
        for sample in sampled_options({"image_size": self.image_size_of(dataset)}):
            size: Any = sample["image_size"]
            yield size[0], size[1]

    def entries(self, section: str, model: ComponentSpec) -> tuple[ComponentSpec, ...]:
        """The entries of one of OF_MODELS that are crossed with `model`: its own, or else the sweep's.

        A model that brings a loss takes that one alone.
        """
        if section == "losses" and has_own_loss(model):
            return (ComponentSpec(type=OWN, name=OWN),)
        found: tuple[ComponentSpec, ...] = model.own.get(section, getattr(self, section))
        return found

    def placed(self, section: str) -> Iterator[tuple[KeyPath, ComponentSpec]]:
        """Every entry of a list of the sweep and of its models, with where it stands."""
        for i, entry in enumerate(getattr(self, section)):
            yield (section, i), entry
        for m, model in enumerate(self.models):
            for i, entry in enumerate(model.own.get(section, ())):
                yield ("models", m, section, i), entry


SETTINGS = ("batch_size", "accumulation", "clip_norm", "ema", "precision", "channels_last", "compile")
"""Values of the training loop, fixed or searched; a model may have its own."""
CROSSING = ("datasets", "models", "losses", "optimizers", "lr_schedules", "augmentations")
"""The lists that span the combinations."""
OF_MODELS = CROSSING[2:]
"""Those that a model may replace by its own."""
