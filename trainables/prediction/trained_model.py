"""A trial's network as it was scored, out of its best.pt or its export, with all that using it needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from segsweep.trainables import catalog
from segsweep.trainables.components import DataError, DatasetCard, Family, Task
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.data.normalization import Normalization
from segsweep.trainables.datasets._palette import palette
from segsweep.trainables.prediction import portable
from segsweep.trainables.training.arithmetic import Arithmetic, arithmetic
from segsweep.trainables.training.checkpoint import Best, CheckpointError, load
from segsweep.trainables.training.experiment import chosen
from segsweep.trainables.weights.loading import remembered, without_weights


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """The network is on `device` and in evaluation mode; where weights were averaged it has the averages, as scored."""

    config: TrialConfig
    card: DatasetCard  # classes, colours and values in masks
    network: nn.Module  # normalised images (N, 3, h, w) to logits (N, C, h, w), see ModelComponent.build
    normalization: Normalization  # of its images
    arithmetic: Arithmetic  # the context of its forward pass
    family: Family
    device: torch.device
    epoch: int
    metrics: Mapping[str, float]  # after that epoch
    weights: Mapping[str, str]  # facts of what it began with, such as weights_licence; {} if with nothing

    @property
    def classes(self) -> tuple[str, ...]:
        return self.card.classes


def load_trained(path: Path, device: torch.device) -> TrainedModel:
    """Builds the network and fills it. Looks for no pretrained weights, and at no dataset's files.

    path: of a best.pt, or of a model.safetensors with its config.json beside it.

    Raises FileNotFoundError; CheckpointError for a file that is damaged, is no best.pt or is one of another version;
    and the catalogue's errors for components that are not installed here.
    """
    best, card = portable.load(path) if path.suffix == ".safetensors" else (cast(Best, load(path)), None)
    try:
        config, classes = TrialConfig.model_validate_json(best["config"]), tuple(best["classes"])
        state, normalization = best["model"], remembered(best).normalization
    except (KeyError, ValueError) as error:
        message = f"{path}: is no best.pt, or one of another version of segsweep ({error!r})"
        raise CheckpointError(message) from error
    catalog.import_plugins(config.plugins)
    architecture, options = chosen(catalog.MODELS, config.model)
    network = architecture.build(without_weights(options), Task(len(classes), config.image_size, config.batch_size))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        message = f"{path}: its weights do not fit '{config.model.name}' as this version of segsweep builds it"
        raise CheckpointError(f"{message} ({str(error).splitlines()[-1].strip()})") from error
    family = architecture.family(options)
    computed = arithmetic(_runnable(config, device), family, device)
    network = network.to(device).eval().requires_grad_(False)
    computed.settle(network)
    card = card or _card(config, classes)
    rest = family, device, best["epoch"], best["metrics"], best["weights"]
    return TrainedModel(config, card, network, normalization, computed, *rest)


def _runnable(config: TrialConfig, device: torch.device) -> TrialConfig:
    """Not compiled, which would take longer than most predictions; and fp16 is not for CPUs."""
    precision = "float32" if config.precision == "fp16" and device.type == "cpu" else config.precision
    return config.model_copy(update={"compile": False, "precision": precision})


def _card(config: TrialConfig, classes: tuple[str, ...]) -> DatasetCard:
    """As the dataset describes itself; if it needs files for that which are not here, it has colours of its own."""
    try:
        component, options = chosen(catalog.DATASETS, config.dataset)
        card = component.describe(options)
    except (DataError, catalog.UnknownComponentError):
        return DatasetCard(classes, palette(len(classes)))
    return card if card.classes == classes else DatasetCard(classes, palette(len(classes)))
