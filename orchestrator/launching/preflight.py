"""What only shows on this machine: folders, ports, resources and data, all looked at before anything is written."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from segsweep.orchestrator.checking.roots import stage
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.launching.ray_session import check_port
from segsweep.orchestrator.mirroring.download import looked_at, names_at
from segsweep.orchestrator.mirroring.places import address_of, storage_address
from segsweep.orchestrator.next_step import resume_command
from segsweep.orchestrator.progress import Announce, Progress
from segsweep.orchestrator.record.journal import JOURNAL, sweeps_in
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.orchestrator.space.domains import sampled_options
from segsweep.orchestrator.space.source import KeyPath, Source
from segsweep.orchestrator.space.spec import ComponentSpec, Resources, SweepSpec, sweep_name
from segsweep.trainables.addresses import Remotes
from segsweep.trainables.catalog import AUGMENTATIONS, OPTIMIZERS, did_you_mean
from segsweep.trainables.components import DataError, Dataset, Split
from segsweep.trainables.data.splits import open_dataset

if TYPE_CHECKING:
    from segsweep.trainables.cache.cached_split import CachedSplit

PROBE = ".segsweep-probe"  # an object that tells whether an address can be written
TRIAL_SPLITS: tuple[Split, ...] = ("train", "val")  # what trials read; the test split is for the winner alone
ANSWER_TIMEOUT_S = 10.0

Fault: TypeAlias = tuple[KeyPath, str]
"""What this machine has against a value of the spec; where that was written, only the caller knows."""


def too_large(resources: Resources, capacity: Capacity) -> Iterator[Fault]:
    """Why not even one trial fits this machine."""
    if capacity.concurrency(resources) < 1:
        share = capacity.asked(resources)
        option = "cpus" if resources.cpus > capacity.cpus else "gpus"
        wanted = f"{resources.cpus} CPUs and {share.gpus:g} GPUs"
        have = f"{capacity.cpus} CPUs and {capacity.gpus} GPUs"
        if share.memory_gib > capacity.memory_gib:
            option = "memory_gib"
            wanted, have = f"{share.memory_gib:g} GiB of memory", f"{capacity.memory_gib:.1f} GiB left"
        yield ("resources", option), f"a trial needs {wanted}, this machine has {have}; ask for less"


def no_gpu_hours(spec: SweepSpec, capacity: Capacity) -> Iterator[Fault]:
    """Why the budget would never end."""
    if spec.budget is not None and spec.budget.gpu_hours and not capacity.gpus_per_trial(spec.resources):
        yield ("budget", "gpu_hours"), "trials get no GPU here; limit wall_hours, epochs or trials instead"


def unfit_precision(spec: SweepSpec, capacity: Capacity) -> Iterator[Fault]:
    """Why trials cannot compute as they should on the device that they get."""
    if capacity.gpus_per_trial(spec.resources):
        return
    places: dict[KeyPath, None] = {
        ("precision",) if model.precision is None else ("models", i, "precision"): None
        for i, model in enumerate(spec.models)
        for options in sampled_options({"precision": spec.setting("precision", model)})
        if options["precision"] == "fp16"
    }
    for place in places:
        yield place, "fp16 needs a GPU, and trials get none here; choose auto, bf16 or float32"


def uncounted_gpus(spec: SweepSpec) -> Iterator[Fault]:
    """Why a cluster cannot know what a trial needs."""
    if spec.resources.gpus is None:
        what = "say how many GPUs a trial gets (0, 1 ... or auto): a cluster may have to start them"
        yield ("resources", "gpus"), what


def occupied(port: int | None) -> Iterator[Mistake]:
    """Why the dashboard cannot have the port; None means any."""
    try:
        if port is not None:
            check_port(port)
    except InputError as error:
        yield from error.mistakes


def unreachable(address: str | None) -> Iterator[Mistake]:
    """Why no cluster can be at the address, which Ray finds out in minutes. None: a local Ray; auto: Ray finds it."""
    if address is None or address == "auto":
        return
    if address.startswith("ray://"):  # Ray Client would run Tune on the head, away from the journal
        yield Mistake(f"--address {address}", "is a Ray Client address; launch on the head node with --address auto")
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWER_TIMEOUT_S).close()
    except ValueError:
        yield Mistake(f"--address {address}", "must be auto or HOST:PORT")
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        yield Mistake(f"--address {address}", f"no Ray cluster answers there ({reason}); start it with `ray up`")


def unusable(storage: Path, name: str | None) -> Iterator[Mistake]:
    """Why no folder can be made for the sweep. Writes nothing."""
    existing = next(path for path in (storage, *storage.absolute().parents) if path.exists())
    if not existing.is_dir():
        yield Mistake(str(storage), f"cannot be written: {existing} is a file; give --storage DIR")
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield Mistake(str(storage), f"cannot be written: no right to write in {existing}; give --storage DIR")
    if name is None:
        return
    try:
        sweep_name(name)
    except ValueError as error:
        yield Mistake(f"--name {name}", str(error))
        return
    if (storage / name).exists():
        yield _exists(storage / name)


def unusable_address(storage: Path, name: str | None) -> Iterator[Mistake]:
    """Why no sweep can be kept at the address of that storage. Writes there, and removes it again."""
    if (address := storage_address(storage)) is None:
        return
    try:
        remotes = Remotes(address)
        remotes.write(PROBE, b"")
        remotes.remove(PROBE)
        if name is not None and name in remotes.folders():
            yield _exists(storage / name)
    except DataError as error:
        yield Mistake("--storage", str(error))


def _exists(folder: Path) -> Mistake:
    remedy = f"choose another --name, or go on with it: {resume_command(folder)}"
    return Mistake(f"--name {folder.name}", f"{address_of(folder) or folder} exists; {remedy}")


def claim_folder(storage: Path, default: str, name: str | None) -> Path:
    """A new folder: `name` if the user gave one, else the first free of default-1, default-2 ... Raises InputError."""
    there = storage_address(storage)
    taken = Remotes(there).folders() if there is not None else []
    try:
        storage.mkdir(parents=True, exist_ok=True)
        number = 0
        while True:
            number += 1
            folder = storage / (name or f"{default}-{number}")
            if folder.name in taken and name is None:
                continue
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                if name is not None:
                    raise InputError(_exists(folder)) from None
    except OSError as error:
        raise InputError(Mistake(str(storage), f"cannot be written: {error.strerror}; give --storage DIR")) from None


def earlier_sweeps(spec: SweepSpec, source: Source, storage: Path) -> dict[str, SweepState]:
    """The sweeps of `warm_start`, by the name given: a sweep in `storage`, or a folder. Raises InputError."""
    mistakes: list[Mistake] = []
    found: dict[str, SweepState] = {}
    for i, name in enumerate(spec.warm_start):
        there = storage_address(storage)
        known = sorted(sweeps_in(storage)) if there is None else names_at(there)
        at_address = [looked_at(there / name)] if there is not None and name in known else []
        journals = (folder / JOURNAL for folder in (*at_address, storage / name, Path(name)))
        journal = next((path for path in journals if path.is_file()), None)
        if journal is None:
            known_ones = f"There are: {', '.join(known)}" if known else "There are none"
            message = f"no sweep '{name}' in {there or storage}.{did_you_mean(name, known)} {known_ones}"
            mistakes.append(source.mistake(("warm_start", i), message))
        else:
            found[name] = SweepState.load(journal)
    InputError.raise_if(mistakes)
    return found


def unusable_augmentations(spec: SweepSpec, source: Source) -> Iterator[Mistake]:
    """What the libraries behind augmentations say against their options, at every image size of the sweep."""
    sizes = dict.fromkeys(size for dataset in spec.datasets for size in spec.image_sizes(dataset))
    for path, entry in spec.placed("augmentations"):
        component = AUGMENTATIONS.get(entry.type)
        check = getattr(component, "check", None)
        if check is None:
            continue
        problems = dict.fromkeys(
            problem
            for options in sampled_options(entry.options)
            for size in sizes
            for problem in check(component.Options.model_validate(options), size)
        )
        for option, message in problems:
            inside = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", option)]
            yield source.mistake((*path, *inside), message)


def unusable_optimizers(spec: SweepSpec, source: Source) -> Iterator[Mistake]:
    """What optimizers say against their options, tried on a few weights: timm's know only then what they take."""
    import torch
    from torch import nn

    few = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    for path, entry in spec.placed("optimizers"):
        component = OPTIMIZERS.get(entry.type)
        searched: dict[str, Any] = {name: dict(domain) for name, domain in component.DOMAINS["cnn"].items()}
        for options in sampled_options({**searched, **entry.options}):
            try:
                with torch.random.fork_rng(devices=[]):
                    component.build(component.Options.model_validate(options), few)
            except (ValueError, TypeError, AssertionError) as error:
                yield source.mistake(path, str(error))
                break


def check_data(spec: SweepSpec, source: Source, announce: Announce, *, decode: bool, quiet: bool = False) -> list[str]:
    """Check pairing, splits and lists of every dataset; fingerprints such as "camvid/val:62d0196a7652f05e".

    decode: also fill this node's cache, which reads every image; without it there are no fingerprints.
    """
    mistakes: list[Mistake] = []
    cached: list[tuple[str, CachedSplit]] = []  # all until the end: one that made room for another would be missed
    for i, dataset in enumerate(spec.datasets):
        try:
            stage(dataset, quiet=quiet)
            built = open_dataset(dataset.type, dataset.options)
            if decode:
                for size in spec.image_sizes(dataset):
                    cached += _fill_cache(built, dataset, size, announce, quiet)
        except DataError as error:
            mistakes.append(source.mistake(("datasets", i), str(error)))
    InputError.raise_if(mistakes)
    return list(dict.fromkeys(f"{name}:{split.fingerprint}" for name, split in cached))  # whatever their size


def _fill_cache(
    built: Dataset, dataset: ComponentSpec, image_size: tuple[int, int], announce: Announce, quiet: bool
) -> Iterator[tuple[str, CachedSplit]]:
    from segsweep.trainables.cache.cached_split import open_split

    height, width = image_size
    for split in TRIAL_SPLITS:
        what = f"{dataset.name}: {len(built.splits.get(split, ()))} {split} images at {height}x{width}"
        with Progress(what, quiet=quiet) as progress:
            opened = open_split(built, dataset.name, split, image_size, progress=progress)
        if not progress.began:
            announce(f"{what} (cached)")
        yield f"{dataset.name}/{split}", opened
