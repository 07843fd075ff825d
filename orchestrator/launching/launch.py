"""From a checked spec to a finished sweep: everything that can be wrong is found before anything is written."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from itertools import starmap
from pathlib import Path
from types import FrameType

from segsweep.orchestrator.backends import Backend, TrialFactory, train
from segsweep.orchestrator.checking.positions import At
from segsweep.orchestrator.checking.pretrained import absolute_weights, unusable_weights
from segsweep.orchestrator.checking.roots import absolute_roots
from segsweep.orchestrator.checking.validation import Checked
from segsweep.orchestrator.driving.collection import Collection
from segsweep.orchestrator.driving.halting import heeding
from segsweep.orchestrator.driving.recorded import recorded
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.errors import ExitCode, InputError, Mistake
from segsweep.orchestrator.forecasting.summary import summary
from segsweep.orchestrator.launching.outliving import lost_with_head
from segsweep.orchestrator.launching.preflight import (
    check_data,
    claim_folder,
    earlier_sweeps,
    no_gpu_hours,
    occupied,
    too_large,
    uncounted_gpus,
    unfit_precision,
    unreachable,
    unusable,
    unusable_address,
    unusable_augmentations,
    unusable_optimizers,
)
from segsweep.orchestrator.launching.ray_session import ray_session
from segsweep.orchestrator.mirroring.mirror import mirrored
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.planning.warm_start import known_values
from segsweep.orchestrator.progress import Announce
from segsweep.orchestrator.provenance import provenance
from segsweep.orchestrator.record.journal import JOURNAL, DriverStarted, DriverStopped, Journal, SweepCreated
from segsweep.orchestrator.resources.capacity import Capacity, local_capacity
from segsweep.orchestrator.resources.fits import fit
from segsweep.orchestrator.resources.memory_probe import measured
from segsweep.orchestrator.resources.share import Share
from segsweep.orchestrator.space.source import dotted
from segsweep.orchestrator.space.spec import SweepSpec
from segsweep.orchestrator.tracking.store import check as check_store
from segsweep.orchestrator.tracking.store import resolve_uri
from segsweep.orchestrator.tracking.writer import TrackingWriter
from segsweep.orchestrator.watching.view import View
from segsweep.trainables import places


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


def create(checked: Checked, storage: Path, name: str | None, machinery: Machinery, announce: Announce) -> Path:
    """Check what only shows on this machine, then make the sweep's folder and begin its journal.

    Raises InputError with nothing written.
    """
    capacity = local_capacity()
    uri = resolve_uri(checked.spec.tracking.uri, Path.cwd())
    earlier = earlier_sweeps(checked.spec, checked.source, storage)
    unfit = [*unusable(storage, name), *unusable_address(storage, name)]
    spec, fingerprints = checked_here(checked, uri, machinery, announce, also=unfit)
    check_store(uri)  # makes a new SQLite file, hence last
    known = tuple(known_values(SweepPlan.of(spec), earlier))
    if spec.warm_start:
        announce(f"warm start: {len(known)} configurations of {', '.join(spec.warm_start)} are tried first")
    folder = claim_folder(storage, spec.name, name)
    created = SweepCreated(
        sweep=folder.name,
        spec=spec.model_copy(update={"name": folder.name}).model_dump(mode="json"),
        source=checked.source.text,
        plan=summary(SweepPlan.of(spec), capacity),
        provenance={**provenance(capacity), "data_fingerprint": " ".join(fingerprints)},
        tracking_uri=uri,
        experiment=spec.tracking.experiment,
        known=known,
    )
    with Journal(folder / JOURNAL) as journal:
        journal.append(created)
    return folder


def checked_here(
    checked: Checked, tracking_uri: str, machinery: Machinery, announce: Announce, also: Iterable[Mistake] = ()
) -> tuple[SweepSpec, list[str]]:
    """The spec with absolute paths, and the fingerprints of its data. Raises InputError; also: what else is wrong."""
    unfit = _unfit(checked.spec, _capacity(machinery), machinery, checked.source.mistake)
    mistakes = [*checked.missing, *unfit, *also]
    InputError.raise_if(mistakes)  # before the libraries of the others are imported, which takes seconds
    libraries = (unusable_augmentations, unusable_optimizers)
    InputError.raise_if([mistake for check in libraries for mistake in check(checked.spec, checked.source)])
    spec = absolute_weights(absolute_roots(checked.spec), checked.source, tracking_uri)
    InputError.raise_if(list(unusable_weights(spec, checked.source, announce)))
    return spec, check_data(spec, checked.source, announce, decode=machinery.address is None, quiet=machinery.quiet)


def run(folder: Path, machinery: Machinery, announce: Announce, factory: TrialFactory = train) -> Outcome:
    """Run the sweep in `folder` until it is over or interrupted: from the beginning, or from where it stands."""
    os.environ.update(places.variables())  # workers have another current folder
    spec, created = recorded(folder)
    capacity = _capacity(machinery)
    gpus = capacity.gpus_per_trial(spec.resources)
    with ExitStack() as stack:
        mirror = stack.enter_context(mirrored(folder, announce, on_nodes=machinery.address is not None))
        journal = stack.enter_context(Journal(folder / JOURNAL))
        writer = TrackingWriter(folder)
        view = View(quiet=machinery.quiet, problems=lambda: (writer.problem, mirror.problem))
        sweep = Sweep(SweepPlan.of(spec), journal, gpus=gpus, listeners=(view.on_event,))
        sweep.interrupted("its driver died", lost="driver")  # what the journal still calls running
        sweep.listen(Collection(sweep.plan, sweep.state, sweep.folder, mirror.collected).on_event)
        writer.start()
        mirror.start(sweep.halt)
        try:
            if _is_done(sweep):
                announce(f"{folder.name} is done; nothing is left to run")
            else:
                unfit = _unfit(spec, capacity, machinery, lambda path, message: Mistake(dotted(path), message))
                InputError.raise_if(list(unfit))
                if machinery.in_process and spec.max_epoch_minutes:
                    announce("warning: max_epoch_minutes is not kept: only a worker of Ray can be ended while it hangs")
                if machinery.address is not None:
                    for line in lost_with_head(folder, created.tracking_uri):
                        announce(f"warning: {line}")
                backend = stack.enter_context(_backend(folder, capacity, machinery, announce))
                sweep.grant(_share(sweep.plan, capacity, machinery, announce))
                _drive(sweep, backend, mirror.trials(factory), view)
        finally:
            unsent = writer.close(timeout_s=30.0)
    return Outcome(exit_code(sweep), folder, created.tracking_uri, unsent)


def _capacity(machinery: Machinery) -> Capacity:
    """This machine's. What a cluster has only Ray knows; whoever lets its trials share GPUs says that it has some."""
    here = local_capacity()
    return here if machinery.address is None else replace(here, gpus=max(1, here.gpus))


def _share(plan: SweepPlan, capacity: Capacity, machinery: Machinery, announce: Announce) -> Share:
    """What every trial gets. Needs Ray, unless trials run in this process."""
    if machinery.in_process:
        return capacity.asked(plan.spec.resources)
    cpus, gpus = plan.spec.resources.cpus, capacity.gpus_per_trial(plan.spec.resources)
    if machinery.address is None:
        found = fit(plan, capacity, partial(measured, cpus=cpus, gpus=gpus, announce=announce))
    else:
        from segsweep.orchestrator.backends._nodes import cluster_capacity, measured_on_nodes

        found = fit(plan, cluster_capacity(), partial(measured_on_nodes, cpus=cpus, gpus=gpus))
    for line in found.lines:
        announce(line)
    return found.share


def _unfit(spec: SweepSpec, capacity: Capacity, machinery: Machinery, at: At) -> Iterator[Mistake]:
    """Why the sweep cannot run on this machine, or on the cluster that was named. at: of a value, where it stands."""
    yield from starmap(at, no_gpu_hours(spec, capacity))
    if machinery.address is None:
        yield from starmap(at, too_large(spec.resources, capacity))
        yield from occupied(machinery.dashboard_port)
        yield from starmap(at, unfit_precision(spec, capacity))
        return
    yield from unreachable(machinery.address)
    yield from starmap(at, uncounted := list(uncounted_gpus(spec)))
    if not uncounted:
        yield from starmap(at, unfit_precision(spec, capacity))


def _is_done(sweep: Sweep) -> bool:
    ended = sweep.state.ended
    return sweep.over and ended is not None and ended.status == "done"


def _drive(sweep: Sweep, backend: Backend, factory: TrialFactory, view: View) -> None:
    """Run the backend between the two events that frame a driver's work."""
    sweep.record(DriverStarted(pid=os.getpid(), host=os.uname().nodename, backend=backend.name))
    try:
        # Ray prints what becomes of workers on stdout, which is for results
        with redirect_stdout(sys.stderr), view.watching(sweep), _interruptible(sweep), _heeding(sweep):
            backend.run(sweep, factory)
    finally:
        sweep.record(_ended(sweep))


def _ended(sweep: Sweep) -> DriverStopped:
    if (halt := sweep.cut_short) is not None:
        return DriverStopped(status="budget" if halt.over_budget else "interrupted", reason=halt.reason)
    return DriverStopped(status="done" if sweep.over else "crashed")


def exit_code(sweep: Sweep) -> ExitCode:
    if (halt := sweep.cut_short) is not None:
        return ExitCode.BUDGET if halt.over_budget else ExitCode.INTERRUPTED
    without_result = any(not sweep.state.count(cell, "finished") for cell in sweep.plan.cells)
    return ExitCode.FAILED_CELLS if without_result else ExitCode.DONE


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
        memory_gib=capacity.memory_gib,
        address=machinery.address,
        dashboard_port=machinery.dashboard_port,
    ) as session:
        if session.dashboard:
            token = f" (token: {session.token_file})" if session.token_file else ""
            announce(f"Ray dashboard: {session.dashboard}{token}")
        from segsweep.orchestrator.backends.ray_tune import RayTune  # after the session has set its environment

        yield RayTune(growing=machinery.address is not None)


def _heeding(sweep: Sweep) -> AbstractContextManager[None]:
    return heeding(sweep.folder, sweep.halt, lambda: sweep.spending.overrun(sweep.journal.clock()))


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
