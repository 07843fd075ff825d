"""From a checked spec to a finished sweep: everything that can be wrong is found before anything is written."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from segsweep.orchestrator.backends import Backend, TrialFactory, train
from segsweep.orchestrator.capacity import Capacity, local_capacity
from segsweep.orchestrator.errors import ExitCode, InputError, Mistake
from segsweep.orchestrator.journal import DriverStarted, DriverStopped, Journal, SweepCreated, read_events
from segsweep.orchestrator.plan import SweepPlan
from segsweep.orchestrator.planning import summary
from segsweep.orchestrator.provenance import provenance
from segsweep.orchestrator.ray_session import check_port, ray_session
from segsweep.orchestrator.spec import ComponentSpec, SweepSpec
from segsweep.orchestrator.sweep import Sweep, cells_without_result
from segsweep.orchestrator.tracking.store import check as check_store
from segsweep.orchestrator.tracking.store import resolve_uri
from segsweep.orchestrator.tracking.writer import TrackingWriter
from segsweep.orchestrator.validation import Checked
from segsweep.orchestrator.view import View
from segsweep.trainables import places
from segsweep.trainables.catalog import DATASETS
from segsweep.trainables.components import DataError, Dataset, Split

Announce = Callable[[str], None]
TRIAL_SPLITS: tuple[Split, ...] = ("train", "val")  # what trials read; the test split is for the winner alone


@dataclass(frozen=True)
class Machinery:
    """How to run, as opposed to what."""

    in_process: bool = False  # no Ray: one trial after the other, here
    address: str | None = None  # a running Ray cluster
    dashboard_port: int | None = None
    quiet: bool = False


@dataclass(frozen=True)
class Outcome:
    code: ExitCode
    folder: Path
    tracking_uri: str
    unsent: int  # journal events that MLflow does not have yet


def create(
    checked: Checked, source_text: str, storage: Path, name: str | None, machinery: Machinery, announce: Announce
) -> Path:
    """Check what only shows on this machine, then make the sweep's folder and begin its journal.

    Raises InputError with nothing written.
    """
    InputError.raise_if(checked.missing)
    capacity = local_capacity()
    spec = absolute_roots(checked.spec)
    plan = SweepPlan.of(spec)
    _check_plan(plan, capacity, machinery)
    fingerprints = _check_data(spec, announce, decode=machinery.address is None)
    uri = resolve_uri(spec.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI"), Path.cwd())
    check_store(uri)
    folder = _claim_folder(storage, spec.name, name)
    created = SweepCreated(
        sweep=folder.name,
        spec=spec.model_copy(update={"name": folder.name}).model_dump(mode="json"),
        source=source_text,
        plan=summary(plan, capacity),
        provenance={**provenance(capacity), "data_fingerprint": " ".join(fingerprints)},
        tracking_uri=uri,
        experiment=spec.tracking.experiment,
    )
    with Journal(folder / "journal.jsonl") as journal:
        journal.append(created)
    return folder


def run(folder: Path, machinery: Machinery, announce: Announce, factory: TrialFactory = train) -> Outcome:
    """Run the sweep in `folder` until it is over or interrupted: from the beginning, or from where it stands."""
    os.environ.update(places.variables())  # workers have another current folder
    spec, uri = _recorded(folder)
    capacity = local_capacity()
    gpus = capacity.gpus_per_trial(spec.resources)
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(folder / "journal.jsonl"))
        writer = TrackingWriter(folder)
        view = View(quiet=machinery.quiet, tracking_problem=lambda: writer.problem)
        sweep = Sweep(SweepPlan.of(spec), journal, gpus=gpus, listeners=(view.on_event,))
        sweep.interrupted("its driver died")  # what the journal still calls running
        backend = stack.enter_context(_backend(folder, capacity, machinery, announce))
        _start(sweep, backend.name)
        writer.start()
        try:
            with view.watching(sweep), _interruptible(sweep):
                backend.run(sweep, factory)
        finally:
            _stop(sweep)
            unsent = writer.close(timeout_s=30.0)
    return Outcome(exit_code(sweep), folder, uri, unsent)


def exit_code(sweep: Sweep) -> ExitCode:
    if sweep.stopping:
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED_CELLS if cells_without_result(sweep.plan, sweep.state) else ExitCode.DONE


def absolute_roots(spec: SweepSpec) -> SweepSpec:
    """Dataset folders by absolute path: workers run elsewhere, and a resume may come from another folder."""
    return spec.model_copy(update={"datasets": tuple(map(_absolute_root, spec.datasets))})


def _absolute_root(dataset: ComponentSpec) -> ComponentSpec:
    component = DATASETS.get(dataset.type)
    root = component.root(component.Options(**dataset.options))
    if root is None:
        return dataset
    return dataset.model_copy(update={"options": {**dataset.options, "root": str(root.resolve())}})


def _check_plan(plan: SweepPlan, capacity: Capacity, machinery: Machinery) -> None:
    mistakes = [Mistake("", message) for message in plan.too_small()]
    resources = plan.spec.resources
    if machinery.address is None and capacity.concurrency(resources) < 1:
        wanted = f"{resources.cpus} CPUs and {capacity.gpus_per_trial(resources):g} GPUs"
        have = f"{capacity.cpus} CPUs and {capacity.gpus} GPUs"
        mistakes.append(Mistake("resources", f"a trial needs {wanted}, this machine has {have}; ask for less"))
    InputError.raise_if(mistakes)
    if machinery.dashboard_port is not None:
        check_port(machinery.dashboard_port)


def _check_data(spec: SweepSpec, announce: Announce, *, decode: bool) -> list[str]:
    """Check pairing, splits and lists of every dataset; fingerprints such as "camvid/val:62d0196a7652f05e".

    decode: also fill this node's cache, which reads every image; without it there are no fingerprints.
    """
    mistakes: list[Mistake] = []
    fingerprints: list[str] = []
    for i, dataset in enumerate(spec.datasets):
        component = DATASETS.get(dataset.type)
        try:
            built = component.build(component.Options(**dataset.options))
            if decode:
                fingerprints += _fill_cache(built, dataset, dataset.image_size or spec.image_size, announce)
        except DataError as error:
            mistakes.append(Mistake(f"datasets[{i}] ({dataset.name})", str(error)))
    InputError.raise_if(mistakes)
    return fingerprints


def _fill_cache(
    built: Dataset, dataset: ComponentSpec, image_size: tuple[int, int], announce: Announce
) -> Iterator[str]:
    from segsweep.trainables.cache import open_split

    for split in TRIAL_SPLITS:
        announce(f"{dataset.name}: {len(built.splits[split])} {split} images")
        cached = open_split(built, dataset.name, split, image_size)
        yield f"{dataset.name}/{split}:{cached.fingerprint}"


def _claim_folder(storage: Path, default: str, name: str | None) -> Path:
    """A new folder: `name` if the user gave one, else the first free of default-1, default-2 ..."""
    try:
        storage.mkdir(parents=True, exist_ok=True)
        if name is not None:
            (storage / name).mkdir()
            return storage / name
        number = 1
        while True:
            try:
                (storage / f"{default}-{number}").mkdir()
                return storage / f"{default}-{number}"
            except FileExistsError:
                number += 1
    except FileExistsError:
        remedy = f"choose another --name, or go on with it: segsweep resume {name}"
        raise InputError(Mistake(f"--name {name}", f"{storage / str(name)} exists; {remedy}")) from None
    except OSError as error:
        raise InputError(Mistake(str(storage), f"cannot be written: {error.strerror}; give --storage DIR")) from None


def _recorded(folder: Path) -> tuple[SweepSpec, str]:
    first = next(read_events(folder / "journal.jsonl"), None)
    if first is None or not isinstance(first[0], SweepCreated):
        raise InputError(Mistake(str(folder), "its journal has no beginning; launch the search space again"))
    return SweepSpec.model_validate(first[0].spec), first[0].tracking_uri


@contextmanager
def _backend(folder: Path, capacity: Capacity, machinery: Machinery, announce: Announce) -> Iterator[Backend]:
    if machinery.in_process:
        from segsweep.orchestrator.backends.in_process import InProcess

        yield InProcess()
        return
    with ray_session(
        folder,
        cpus=capacity.cpus,
        gpus=capacity.gpus,
        address=machinery.address,
        dashboard_port=machinery.dashboard_port,
    ) as session:
        if session.dashboard:
            token = f" (token: {session.token_file})" if session.token_file else ""
            announce(f"Ray dashboard: {session.dashboard}{token}")
        from segsweep.orchestrator.backends.ray_tune import RayTune  # after the session has set its environment

        yield RayTune()


def _start(sweep: Sweep, backend: str) -> None:
    sweep.record(DriverStarted(pid=os.getpid(), host=os.uname().nodename, backend=backend))


def _stop(sweep: Sweep) -> None:
    status = "interrupted" if sweep.stopping else "done" if sweep.over else "crashed"
    sweep.record(DriverStopped(status=status))


@contextmanager
def _interruptible(sweep: Sweep) -> Iterator[None]:
    """Ctrl-C once stops the sweep cleanly; a second time it is Python's own KeyboardInterrupt."""
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:
        sweep.interrupt()
        for name, handler in before.items():
            signal.signal(name, handler)

    for name in before:
        signal.signal(name, ask)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
