"""Where datasets lie, and bringing them to this machine's disk where they are not on it."""

from __future__ import annotations

from segsweep.orchestrator.progress import Progress
from segsweep.orchestrator.space.spec import ComponentSpec, SweepSpec
from segsweep.trainables.addresses import Address, Root
from segsweep.trainables.cache.staging import staged
from segsweep.trainables.catalog import DATASETS


def root_of(dataset: ComponentSpec) -> Root | None:
    """Raises DataError for an address that cannot be one."""
    component = DATASETS.get(dataset.type)
    return component.root(component.Options(**dataset.options))


def absolute_roots(spec: SweepSpec) -> SweepSpec:
    """Dataset folders by absolute path: workers run elsewhere, and a resume may come from another folder."""
    return spec.model_copy(update={"datasets": tuple(map(_absolute_root, spec.datasets))})


def _absolute_root(dataset: ComponentSpec) -> ComponentSpec:
    root = root_of(dataset)
    if root is None:
        return dataset
    return dataset.model_copy(
        update={"options": {**dataset.options, "root": str(root if isinstance(root, Address) else root.resolve())}}
    )


def stage(dataset: ComponentSpec, *, quiet: bool = False) -> None:
    """Fetch what this machine lacks of a dataset at an address, with a progress bar. Raises DataError."""
    root = root_of(dataset)
    if isinstance(root, Address):
        with Progress(f"{dataset.name}: fetching {root}", quiet=quiet) as progress:
            staged(root, progress)
