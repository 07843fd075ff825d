"""What a component file offers, kind by kind: the plug-in surface on one screen.

A component is one module with a docstring (naming its paper), a class `Options` and a function `build`. `Options`
is read by `segsweep validate`, so a component imports torch and other heavy libraries inside its functions only.
An option whose YAML value may be a domain (`lr: {loguniform: [1e-5, 1e-2]}`) needs nothing special here: components
only ever see plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from segsweep.trainables.addresses import Root

    Uint8 = npt.NDArray[np.uint8]

VOID = 255  # the only ignore value inside segsweep; every dataset maps its own to it

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")  # their order decides what streets draws
Family = Literal["cnn", "transformer"]
Color = tuple[int, int, int]


class ComponentOptions(BaseModel):
    """Base of every `Options`: frozen, unknown keys are errors, defaults live here and nowhere else."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(NamedTuple):
    """Why options do not fit the task. `option` names the offending one ("" for all), dotted if it is a nested one."""

    option: str
    message: str


@dataclass(frozen=True)
class Task:
    """What is known of a cell before any data is read."""

    num_classes: int
    image_size: tuple[int, int]  # (height, width) that the network is fed
    batch_size: int
    in_channels: int = 3


@dataclass(frozen=True)
class DatasetCard:
    """What is known of a dataset from its options alone."""

    classes: tuple[str, ...]
    colors: tuple[Color, ...]
    scored: tuple[int, ...] | None = None  # all are learned, these are scored: see metrics.scored_part; None: all
    values: tuple[tuple[int, int], ...] = ()  # of its own masks, each with class or VOID; () where they are the classes


class Pair(NamedTuple):
    """One image with its labels at original size."""

    image: Uint8  # (H, W, 3) RGB
    label: Uint8  # (H, W), 0..C-1 or VOID


@dataclass(frozen=True)
class Sample:
    """One image of a dataset. `stamp` changes whenever the content may have changed (path, size, time)."""

    id: str
    stamp: str
    read: Callable[[], Pair]  # picklable; raises DataError that names the file
    group: str = ""  # what its image shares with others, such as a city or a film; "" where that is not known
    files: tuple[Path, Path] | None = None  # image and mask, for who looks at what was stored; None if it has no such


@dataclass(frozen=True)
class Dataset:
    card: DatasetCard
    splits: Mapping[Split, Sequence[Sample]]


class WeightsError(ValueError):
    """Pretrained weights that cannot be had; the message names them and says what to put where."""


class DataError(ValueError):
    """Data that cannot be used as they are; the message names the file, the value and the remedy.

    kind: a word or two by which many are sorted; each: where the message sums up many files, a message for each.
    """

    def __init__(self, message: str, kind: str = "unusable", each: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.each = tuple(each) or (message,)


class DoesNotFitError(RuntimeError):
    """Memory does not hold as little as a trial can train on; the message says how much that is, and on what."""


class DatasetComponent(Protocol):
    Options: ClassVar[type[ComponentOptions]]  # DatasetOptions in dataset_options.py, for `subset` and `folds`

    def describe(self, options: ComponentOptions) -> DatasetCard:
        """Classes and colours without reading images. Raises DataError."""

    def root(self, options: ComponentOptions) -> Root | None:
        """The folder or address that has to exist, or None for a dataset that needs none. Raises DataError."""

    def build(self, options: ComponentOptions) -> Dataset:
        """List (not read) every sample of the dataset's own splits. Raises DataError."""


class Outputs(NamedTuple):
    """What a network may return while it trains, where logits are not all there is."""

    logits: torch.Tensor  # (N, C, H, W), as in evaluation
    auxiliary: tuple[tuple[float, torch.Tensor], ...] = ()  # weight in the loss, and further logits of the same shape
    own_loss: Callable[[torch.Tensor], torch.Tensor] | None = None  # of labels (N, H, W) int64 with VOID: a scalar,
    # which then takes the place of the sweep's loss


class ModelComponent(Protocol):
    """OWN_LOSS = True in the module says that the networks return an `own_loss` and train with nothing else."""

    Options: ClassVar[type[ComponentOptions]]  # ModelOptions in model_options.py, for `freeze`

    def encoder(self, options: ComponentOptions) -> str:
        """The encoder's name: the second half of the model's default name, and the MLflow parameter `encoder`."""

    def family(self, options: ComponentOptions) -> Family:
        """Which default range of lr and weight decay fits."""

    def check(self, options: ComponentOptions, task: Task) -> Iterable[Problem]:
        """Why the options cannot work for the task: unknown encoder, a size that the network cannot take ..."""

    def build(self, options: ComponentOptions, task: Task) -> torch.nn.Module:
        """A module from images (N, in_channels, H, W), normalised float32, to logits (N, num_classes, H, W).

        Any H and W; padding to the encoder's stride and cropping happen inside. A batch of one trains. In training
        mode it may return Outputs instead, in evaluation mode it never does. The names of its modules tell encoder,
        decoder and head apart: see parts.py.
        """


@dataclass(frozen=True)
class LossContext:
    num_classes: int
    class_frequencies: Callable[[], torch.Tensor]  # (C,) float64, share of the labelled train pixels; sums to 1


class LossComponent(Protocol):
    """May have `adds_up(options) -> bool` and `rises(options) -> bool` as well: see the functions of those names."""

    Options: ClassVar[type[ComponentOptions]]

    def check(self, options: ComponentOptions, task: Task) -> Iterable[Problem]: ...

    def build(self, options: ComponentOptions, context: LossContext) -> torch.nn.Module:
        """A module (logits (N, C, H, W) float32, labels (N, H, W) int64, valid (N, H, W) bool) -> scalar.

        At least one pixel is valid; labels are 0 where they are not. segsweep.trainables.masked_loss wraps it.
        """


@runtime_checkable
class FollowsEpochs(Protocol):
    """A loss, or a part of one, that changes over training."""

    def begin(self, epoch: int) -> None:
        """Called before epoch (1, 2 ...) is trained, and not again before it is scored."""


def adds_up(component: LossComponent, options: ComponentOptions) -> bool:
    """Whether the loss of a batch is the mean of its parts' losses, weighted by their labelled pixels.

    Then it is no matter to the gradient how many processes share a batch. False where the component does not say.
    """
    says = getattr(component, "adds_up", None)
    return says is not None and bool(says(options))


def rises(component: LossComponent, options: ComponentOptions) -> bool:
    """Whether the loss of one and the same prediction grows from epoch to epoch. False where it does not say."""
    says = getattr(component, "rises", None)
    return says is not None and bool(says(options))


class OptimizerComponent(Protocol):
    Options: ClassVar[type[ComponentOptions]]  # has lr and weight_decay
    DOMAINS: ClassVar[Mapping[Family, Mapping[str, Mapping[str, object]]]]
    """What Optuna searches where the YAML gives no value, in the YAML's own notation, by model family."""

    def build(self, options: ComponentOptions, model: torch.nn.Module) -> torch.optim.Optimizer:
        """Optimizes every parameter of the model; those without a gradient (frozen ones) it leaves alone.

        The optimizer may have HasModes. Raises ValueError if no parameter requires a gradient.
        """


@runtime_checkable
class HasModes(Protocol):
    """An optimizer that trains other weights than it offers for scoring and saving."""

    def train(self) -> None: ...

    def eval(self) -> None: ...


class LRScheduleComponent(Protocol):
    Options: ClassVar[type[ComponentOptions]]

    def check(self, options: ComponentOptions, epochs: int) -> Iterable[Problem]:
        """Why the options do not fit so many epochs: a warm-up longer than training ..."""

    def build(
        self, options: ComponentOptions, optimizer: torch.optim.Optimizer, steps_per_epoch: int, epochs: int
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Stepped once per optimizer update. It may be Watchful."""


@runtime_checkable
class Watchful(Protocol):
    """An LR schedule that follows the objective."""

    def observe(self, goodness: float) -> None:
        """Called after every epoch with the objective's value, negated where lower is better."""


class AugmentationComponent(Protocol):
    """May have `check(options, image_size) -> Iterable[Problem]` as well; only `launch` calls it, so it may be slow."""

    Options: ClassVar[type[ComponentOptions]]

    def build(self, options: ComponentOptions, image_size: tuple[int, int]) -> Augmentation: ...


class Augmentation(Protocol):
    def __call__(self, pair: Pair, seed: int) -> Pair:
        """Image and label together at (height, width) = image_size; whatever is padded becomes VOID."""


@runtime_checkable
class BatchAugmentation(Augmentation, Protocol):
    """An augmentation that also mixes the images of a batch."""

    def mix(self, pairs: Sequence[Pair], seed: int) -> Sequence[Pair]:
        """As many pairs of the same size, after each has been augmented; the given ones stay as they are."""
