"""Pretrained weights, put into a network that has just been built, with what has to be remembered of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from torch import nn

from segsweep.trainables.components import ComponentOptions, ModelComponent, Task, WeightsError
from segsweep.trainables.data.normalization import IMAGENET, Normalization
from segsweep.trainables.weights import files, licences
from segsweep.trainables.weights.files import WeightsFile
from segsweep.trainables.weights.fitting import Classes, fit_encoder, fit_network
from segsweep.trainables.weights.hub import SHARDED, asked_only_in_need, cached_file, fetch_statements, fetched
from segsweep.trainables.weights.options import PretrainedOptions
from segsweep.trainables.weights.sources import IN_FOLDER, Source, encoder_source, file_of, network_source, unnamed

logger = logging.getLogger(__name__)

Facts = Mapping[str, str]


class Saved(TypedDict):
    """What a checkpoint holds of it."""

    normalization: dict[str, list[float]]  # mean and std, of RGB in [0, 1]: what the network's images are prepared with
    weights: dict[str, str]  # the facts; empty if training began with no weights


@dataclass(frozen=True)
class Pretrained:
    """What a network began with."""

    normalization: Normalization = IMAGENET
    facts: Facts = field(default_factory=dict)  # weights_source, weights_sha256, weights_licence ...: tags in MLflow

    def as_saved(self) -> Saved:
        """As the checkpoints hold it: whoever uses their network prepares images so."""
        mean, std = map(list, self.normalization)
        return {"normalization": {"mean": mean, "std": std}, "weights": dict(self.facts)}


def remembered(saved: Saved) -> Pretrained:
    """What `as_saved` gave to a checkpoint."""
    normalization = Normalization.stated(saved["normalization"])
    if normalization is None:
        raise ValueError(f"no mean and std of three channels: {saved['normalization']}")
    return Pretrained(normalization, saved["weights"])


def without_weights(options: ComponentOptions) -> ComponentOptions:
    """Options that build the same network and, where that is possible, look for no weights: those of a checkpoint will
    follow."""
    if not isinstance(options, PretrainedOptions):
        return options
    kept = options.encoder_weights if options.shaped_by_weights else "none"
    return options.model_copy(update={"encoder_weights": kept, "weights": None})


def build(
    component: ModelComponent, options: ComponentOptions, task: Task, classes: Sequence[str]
) -> tuple[nn.Module, Pretrained]:
    """A network with its weights. classes: the dataset's, by which heads are taken over.

    Raises WeightsError: weights that are not there, are damaged or are those of another network.
    """
    with _hub_of(options):
        network = component.build(options, task)
        return network, _load(network, options, classes)


def _hub_of(options: ComponentOptions) -> AbstractContextManager[None]:
    if not isinstance(options, PretrainedOptions):
        return nullcontext()
    source = encoder_source(options.encoder_weights)
    if source.kind == "hub":
        return asked_only_in_need(source.name, source.revision)
    published = options.published() if source.kind == "name" else None
    return asked_only_in_need(published.repository, published.revision) if published else nullcontext()


def _load(network: nn.Module, options: ComponentOptions, classes: Sequence[str]) -> Pretrained:
    """Load whatever the component has not loaded itself."""
    if not isinstance(options, PretrainedOptions):
        return Pretrained()
    if options.weights is not None:
        return _network(network, options, options.weights, classes)
    source = encoder_source(options.encoder_weights)
    if source.kind == "none":
        return Pretrained()
    if source.kind in options.loads:
        return _remembered(options, source)
    if source.kind == "name":
        raise WeightsError(unnamed(source.text))
    path = fetched(source.name, source.revision) if source.kind == "hub" else file_of(source)
    found = files.read(path)
    fit_encoder(network, found.tensors, f"encoder_weights '{source.text}'")
    return _pretrained(options, source, path, found)


def _network(network: nn.Module, options: PretrainedOptions, text: str, classes: Sequence[str]) -> Pretrained:
    source = network_source(text)
    if source.kind == "run":
        raise WeightsError(f"weights '{text}': `segsweep launch` finds MLflow's runs; elsewhere name the file")
    path = file_of(source)
    found = files.read(path)
    both = Classes.of(classes, found.ours.get("classes", ()))
    not_loaded = fit_network(network, found.tensors, f"weights '{text}'", both)
    if not_loaded:
        logger.warning("weights '%s': not loaded, so random: %s", text, ", ".join(not_loaded))
    pretrained = _pretrained(options, source, path, found)
    facts = {**pretrained.facts, "weights_not_loaded": ", ".join(not_loaded)}
    return Pretrained(pretrained.normalization, facts)


def _remembered(options: PretrainedOptions, source: Source) -> Pretrained:
    """Of weights that `build` has loaded, so their file is in the cache by now."""
    published = options.published() if source.kind == "name" else None
    if published is not None:
        source = Source("hub", source.text, name=published.repository, revision=published.revision)
    elif source.kind == "hub":
        fetch_statements(source.name, source.revision)
    path = None
    if source.kind == "hub":
        path = cached_file(source.name, source.revision, *IN_FOLDER[:2], SHARDED)
    elif source.kind != "name":
        path = source.path / SHARDED if (source.path / SHARDED).is_file() else file_of(source)
    return _pretrained(options, source, path, licence=published.licence if published else "")


def _pretrained(
    options: PretrainedOptions, source: Source, path: Path | None, found: WeightsFile | None = None, licence: str = ""
) -> Pretrained:
    """What the file says of itself goes before what files beside it say, and that before what is known of its kind."""
    folder = path.parent if path is not None and source.kind != "file" else None
    stated = (found.normalization if found else None) or (files.stated_normalization(folder) if folder else None)
    licence = (found.licence if found else "") or licence or (files.stated_licence(folder) if folder else "")
    if source.kind == "hub":
        licence = licences.of_repository(source.name, licence)
    elif source.kind == "package":
        licence = licence or licences.of_package(source.name)
    facts = {"weights_source": source.text, "weights_licence": licence or licences.UNKNOWN}
    if source.kind == "hub":
        commit = f"@{path.parent.name}" if path is not None else ""
        facts["weights_source"] = f"{source.name}{commit}"
    if path is not None:
        facts |= {"weights_file": str(path), "weights_sha256": files.sha256(path)}
    return Pretrained(stated or options.normalization(), facts)
