"""A configuration, built: data, model, loss, optimizer and LR schedule, in this order, ready to train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, TypeVar

import torch
from timm.utils import ModelEmaV3
from torch import nn

from segsweep.trainables import catalog
from segsweep.trainables.cache.cached_split import CachedSplit, open_split
from segsweep.trainables.components import Augmentation, ComponentOptions, DatasetCard, LossContext, Task
from segsweep.trainables.config import Entry, TrialConfig
from segsweep.trainables.data.class_counts import class_frequencies
from segsweep.trainables.data.splits import open_dataset
from segsweep.trainables.masked_loss import build_loss
from segsweep.trainables.model_options import ModelOptions
from segsweep.trainables.training.arithmetic import arithmetic
from segsweep.trainables.training.epochs import updates_per_epoch
from segsweep.trainables.training.freezing import freezing
from segsweep.trainables.training.learner import Learner
from segsweep.trainables.weights.loading import Pretrained, without_weights
from segsweep.trainables.weights.loading import build as build_pretrained


class TestSplit(NamedTuple):
    """The split that a trial is scored on once, when it has finished."""

    split: CachedSplit
    groups: tuple[str, ...]


@dataclass
class Experiment:
    """All that a configuration stands for, built and ready to train."""

    classes: tuple[str, ...]
    scored: tuple[int, ...] | None  # see DatasetCard
    train: CachedSplit
    val: CachedSplit
    val_groups: tuple[str, ...]  # see `Sample.group`
    test: TestSplit | None  # None: not asked for, or the dataset has none
    augment: Augmentation
    learner: Learner
    pretrained: Pretrained


class _Data(NamedTuple):
    card: DatasetCard
    train: CachedSplit
    val: CachedSplit
    val_groups: tuple[str, ...]
    test: TestSplit | None


def build(config: TrialConfig, device: torch.device, *, pretrained: Pretrained | None = None) -> Experiment:
    """The experiment in its order: data, model, loss, optimizer, LR schedule.

    pretrained: what a checkpoint remembers whose weights will be loaded, so that no others are looked for.
    Raises DataError, WeightsError, ValueError for a precision that the device has not, and the catalogues'.
    """
    data = _data(config)
    augmentation, augmentation_options = chosen(catalog.AUGMENTATIONS, config.augmentation)
    augment = augmentation.build(augmentation_options, config.image_size)

    classes = data.card.classes
    architecture, model_options = chosen(catalog.MODELS, config.model)
    task = Task(len(classes), config.image_size, config.batch_size)
    if pretrained:
        model = architecture.build(without_weights(model_options), task)
    else:
        model, pretrained = build_pretrained(architecture, model_options, task, classes)
    model = model.to(device)
    computed = arithmetic(config, architecture.family(model_options), device)

    frozen = freezing(model_options.freeze if isinstance(model_options, ModelOptions) else None, model)

    loss, loss_options = chosen(catalog.LOSSES, config.loss)
    context = LossContext(len(classes), lambda: class_frequencies(data.train.class_counts))
    criterion = build_loss(loss, loss_options, context).to(device)

    optimizer_component, optimizer_options = chosen(catalog.OPTIMIZERS, config.optimizer)
    optimizer = optimizer_component.build(optimizer_options, model)
    schedule, schedule_options = chosen(catalog.LR_SCHEDULES, config.lr_schedule)
    lr_schedule = schedule.build(schedule_options, optimizer, updates_per_epoch(config, len(data.train)), config.epochs)
    average = None if config.ema is None else averaged(model, config.ema)
    for network in (model, *([average.module] if average is not None else [])):
        computed.settle(network)  # last, so that nothing before has it compiled
    loop = config.accumulation, config.clip_norm, computed
    learner = Learner(model, criterion, optimizer, lr_schedule, frozen, average, *loop)
    splits = data.train, data.val, data.val_groups, data.test
    return Experiment(classes, data.card.scored, *splits, augment, learner, pretrained)


def _data(config: TrialConfig) -> _Data:
    dataset = open_dataset(config.dataset.type, config.dataset.options)
    train = open_split(dataset, config.dataset.name, "train", config.image_size)
    val = open_split(dataset, config.dataset.name, "val", config.image_size)
    test = None
    if config.test and dataset.splits.get("test"):
        split = open_split(dataset, config.dataset.name, "test", config.image_size)
        test = TestSplit(split, tuple(sample.group for sample in dataset.splits["test"]))
    for split in (train, val, *([test.split] if test else [])):
        split.map()  # so that whoever clears the cache by force does not end the trial
    return _Data(dataset.card, train, val, tuple(sample.group for sample in dataset.splits["val"]), test)


def least_batch(config: TrialConfig, num_classes: int) -> int:
    """How few images of the configuration's batches its network can be trained on at once: 1, or 2 of a few kinds."""
    architecture, options = chosen(catalog.MODELS, config.model)
    alone = Task(num_classes, config.image_size, batch_size=1)
    return 2 if config.batch_size > 1 and any(architecture.check(options, alone)) else 1


def averaged(model: nn.Module, decay: float) -> ModelEmaV3:
    """Weights and statistics, averaged over updates; the decay grows, so that the first weights are soon forgotten.

    At update t it is at most 1 - t^(-2/3): 0 at the first, 0.95 after 100, 0.99 after 1,000, 0.999 after 30,000.
    """
    return ModelEmaV3(model, decay, use_warmup=True)


def pick_device(gpus: float) -> torch.device:
    if not gpus:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RuntimeError(f"the trial was given {gpus:g} GPU, but torch {torch.__version__} sees none here")
    if gpus > torch.cuda.device_count():
        raise RuntimeError(f"the trial was given {gpus:g} GPUs, but torch sees {torch.cuda.device_count()} here")
    return torch.device("cuda", torch.cuda.current_device())


class _HasOptions(Protocol):
    Options: ClassVar[type[ComponentOptions]]


_C = TypeVar("_C", bound=_HasOptions)


def chosen(components: catalog.Catalog[_C], entry: Entry) -> tuple[_C, ComponentOptions]:
    component = components.get(entry.type)
    return component, component.Options.model_validate(entry.options)
