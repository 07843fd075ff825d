"""Weights that are not there, found without torch and without the network: for `validate`, before hours are spent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from segsweep.trainables.components import WeightsError
from segsweep.trainables.weights.hub import is_cached, is_offline, remedy
from segsweep.trainables.weights.options import PretrainedOptions
from segsweep.trainables.weights.sources import encoder_source, file_of, network_source, unnamed


class Absent(NamedTuple):
    """option: which names the weights; certain: False if the hub may have them and may be asked."""

    option: str
    message: str
    certain: bool


def absent(options: PretrainedOptions) -> Iterator[Absent]:
    """What of the weights that the options name is not on this machine."""
    if options.weights is not None:
        source = network_source(options.weights)
        if source.kind != "run":  # only MLflow knows
            try:
                file_of(source)
            except WeightsError as error:
                yield Absent("weights", str(error), certain=True)
        return
    source = encoder_source(options.encoder_weights)
    if source.kind in ("file", "folder", "package"):
        try:
            file_of(source)
        except WeightsError as error:
            yield Absent("encoder_weights", str(error), certain=True)
        return
    if source.kind == "name" and "name" not in options.loads:
        yield Absent("encoder_weights", unnamed(source.text), certain=True)
        return
    repositories = {"hub": (source.name,), "name": options.repositories()}.get(source.kind, ())
    if repositories and not any(map(is_cached, repositories)):
        yield _uncached(source.text, repositories[0])


def _uncached(text: str, repository: str) -> Absent:
    repository = repository.replace("*", "TAG")  # the encoder's name has no tag, and only timm knows its default
    named = f"{text} ({repository})" if text != repository else text
    if is_offline():
        message = f"{named} is not in the cache, and HF_HUB_OFFLINE forbids to fetch it. {remedy(repository)}"
        return Absent("encoder_weights", message, certain=True)
    message = f"{named} is not in the cache yet, so `launch` will fetch it. {remedy(repository)}"
    return Absent("encoder_weights", message, certain=False)
