"""Pretrained weights of a sweep: looked for when it is checked, fetched and tried on once when it is launched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import JsonValue

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.space.domains import sampled_options
from segsweep.orchestrator.space.source import Source
from segsweep.orchestrator.space.spec import ComponentSpec, SweepSpec
from segsweep.trainables.catalog import DATASETS, MODELS
from segsweep.trainables.components import Task, WeightsError
from segsweep.trainables.weights.absence import absent
from segsweep.trainables.weights.options import PretrainedOptions
from segsweep.trainables.weights.sources import encoder_source, network_source

if TYPE_CHECKING:
    from segsweep.orchestrator.progress import Announce


class AbsentWeights(NamedTuple):
    missing: tuple[Mistake, ...] = ()  # launch refuses them
    unfetched: tuple[Mistake, ...] = ()  # launch fetches them


def absent_weights(spec: SweepSpec, source: Source) -> AbsentWeights:
    """Weights that are not on this machine; told without torch and without the network."""
    missing: dict[Mistake, None] = {}
    unfetched: dict[Mistake, None] = {}
    for m, model in enumerate(spec.models):
        for options in _pretrained(model):
            for option, message, certain in absent(options):
                (missing if certain else unfetched)[source.mistake(("models", m, option), message)] = None
    return AbsentWeights((*missing,), (*unfetched,))


def unusable_weights(spec: SweepSpec, source: Source, announce: Announce) -> Iterator[Mistake]:
    """Why weights cannot be had or do not fit. Fetches what is missing, and builds every model that has any."""
    dataset = spec.datasets[0]
    classes = DATASETS.get(dataset.type).describe(DATASETS.get(dataset.type).Options(**dataset.options)).classes
    tasks = [Task(len(classes), size, batch_size=2) for size in spec.image_sizes(dataset)]
    for m, model in enumerate(spec.models):
        for options in _pretrained(model):
            named = "encoder_weights" if options.weights is None else "weights"
            announce(f"{model.name}: {named} {getattr(options, named)}")
            try:
                for task in tasks:
                    _try_on(model, options, task, classes)
            except WeightsError as error:
                yield source.mistake(("models", m, named), str(error))


def _try_on(model: ComponentSpec, options: PretrainedOptions, task: Task, classes: tuple[str, ...]) -> None:
    from segsweep.trainables.weights.loading import build

    build(MODELS.get(model.type), options, task, classes)


def _pretrained(model: ComponentSpec) -> Iterator[PretrainedOptions]:
    component = MODELS.get(model.type)
    for sample in sampled_options(model.options):
        options = component.Options(**sample)
        if isinstance(options, PretrainedOptions) and (options.encoder_weights != "none" or options.weights):
            yield options


def absolute_weights(spec: SweepSpec, source: Source, uri: str) -> SweepSpec:
    """Files and folders by absolute path, as workers and later resumes need them, and MLflow's runs by their file.

    uri: the store that knows the runs. Raises InputError for a run that it does not know or that left no file.
    """
    absolute: dict[str, Callable[[str], str]] = {
        "encoder_weights": _absolute_encoder,
        "weights": lambda text: _absolute_network(text, uri),
    }

    def changed(number: int, model: ComponentSpec) -> ComponentSpec:
        try:
            found = {key: _each(model.options[key], change) for key, change in absolute.items() if key in model.options}
        except WeightsError as error:
            raise InputError(source.mistake(("models", number, "weights"), str(error))) from None
        return model.model_copy(update={"options": {**model.options, **found}})

    return spec.model_copy(update={"models": tuple(changed(*each) for each in enumerate(spec.models))})


def _each(value: JsonValue, change: Callable[[str], str]) -> Any:
    """The text, or every text of a domain, changed."""
    if isinstance(value, dict):
        return {key: _each(child, change) for key, child in value.items()}
    if isinstance(value, list):
        return [_each(child, change) for child in value]
    return change(value) if isinstance(value, str) else value


def _absolute_encoder(text: str) -> str:
    source = encoder_source(text)
    return str(source.path.resolve()) if source.kind in ("file", "folder") else text


def _absolute_network(text: str, uri: str) -> str:
    source = network_source(text)
    return _checkpoint(source.name, uri) if source.kind == "run" else str(source.path.resolve())


def _checkpoint(run: str, uri: str) -> str:
    from segsweep.orchestrator.tracking.reader import Reader

    try:
        return Reader(uri).checkpoint(run)
    except InputError as error:
        raise WeightsError(str(error)) from None
