"""Sizes and speeds of single models, for `segsweep models` and `segsweep profile`: from names and --set to numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from segsweep.orchestrator.checking.explanations import mistakes_of, validate_strictly
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.space.source import assigned
from segsweep.trainables.catalog import MODELS, UnknownComponentError
from segsweep.trainables.components import ComponentOptions, ModelComponent, Task, WeightsError

if TYPE_CHECKING:
    from segsweep.trainables.training.profiling import Profile, Size


class Chosen(NamedTuple):
    architecture: ModelComponent
    options: ComponentOptions
    task: Task


def chosen(name: str, assignments: tuple[str, ...], task: Task) -> Chosen:
    """An architecture with options given by --set KEY=VALUE. Raises InputError for whatever `validate` would refuse."""
    source = assigned(assignments)
    try:
        architecture: Any = MODELS.get(name)
        validate_strictly(architecture.Options, source.data)
        options = architecture.Options.model_validate(source.data)
    except UnknownComponentError as error:
        raise InputError(Mistake("MODEL", str(error))) from None
    except ValidationError as error:
        raise InputError(*mistakes_of(error, source, (), architecture.Options)) from None
    InputError.raise_if(
        Mistake(f"{name}: {problem.option}" if problem.option else name, problem.message)
        for problem in architecture.check(options, task)
    )
    return Chosen(architecture, options, task)


def size(model: Chosen) -> Size:
    """Raises InputError if its weights cannot be had."""
    from segsweep.trainables.training import profiling

    try:
        return profiling.size(*model)
    except WeightsError as error:
        raise InputError(Mistake("encoder_weights", str(error))) from None


def profile(model: Chosen, *, cpus: int, gpus: float) -> Profile:
    """Raises InputError if its weights cannot be had."""
    from segsweep.trainables.training import profiling
    from segsweep.trainables.training.experiment import pick_device
    from segsweep.trainables.training.isolation import cpu_threads
    from segsweep.trainables.training.micro_batches import out_of_memory

    try:
        device = pick_device(gpus)
    except RuntimeError as error:
        raise InputError(Mistake("--gpu", f"{error}; leave it out to measure on CPUs")) from None
    try:
        with cpu_threads(cpus):
            return profiling.profile(*model, device)
    except WeightsError as error:
        raise InputError(Mistake("encoder_weights", str(error))) from None
    except Exception as error:
        if not out_of_memory(error):
            raise
        height, width = model.task.image_size
        what = f"memory does not hold a batch of {model.task.batch_size} at {height}x{width}"
        raise InputError(Mistake("--size", f"{what}; give a smaller --size or --batch-size")) from None
