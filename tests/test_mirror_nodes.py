"""Trials of a sweep that is kept at an address, on nodes with their own disks: an epoch is there before it is told."""

from __future__ import annotations

import builtins
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mirrored import SavingTrial, began, drive, kept_files, results, trained

from segsweep.orchestrator.backends.in_process import InProcess
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.collection import Collection
from segsweep.orchestrator.driving.halting import Halt
from segsweep.orchestrator.driving.recorded import recorded
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.mirroring import lease, mirror, nodes
from segsweep.orchestrator.mirroring.download import bring, taken_up
from segsweep.orchestrator.mirroring.lease import Lease
from segsweep.orchestrator.mirroring.mirror import mirrored
from segsweep.orchestrator.mirroring.nodes import OnNodes
from segsweep.orchestrator.mirroring.upload import Uploads
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.record.journal import EpochDone, Event, Journal, read_events
from segsweep.orchestrator.record.state import SweepState
from segsweep.trainables.addresses import Address, Remotes
from segsweep.trainables.components import DataError
from segsweep.trainables.places import cache_folder
from segsweep.trainables.training.checkpoint import StaleAttemptError

Go = Callable[[str], None]


class PathTrial(SavingTrial):
    """Tells where it keeps its files, as a real one does."""

    def __init__(self, assignment: Assignment) -> None:
        super().__init__(assignment)
        self.facts: Mapping[str, float | str] = {"checkpoint": str(assignment.folder / "best.pt"), "gmacs": 1.0}


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    """Go to a machine of that name, with a disk of its own; a test begins on that of the driver."""
    trained.clear()
    monkeypatch.setattr(mirror, "LOOKS_EVERY_S", 0.01)
    monkeypatch.setattr(nodes, "BACK_OFF_S", (0.01,))
    monkeypatch.setattr(lease, "_machine", lambda: "driver")

    def go(name: str) -> None:
        monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / name))

    go("driver")
    return go


@pytest.fixture
def storage(tmp_path: Path) -> Address:
    return Address.of(f"file://{tmp_path}/far")


@pytest.fixture
def first(storage: Address) -> Assignment:
    """The first attempt of a sweep whose driver has the lease."""
    folder = began(storage)
    Lease(storage / "night-1").take(print)
    with Journal(folder / "journal.jsonl", fsync=False) as journal:
        assignment = Sweep(SweepPlan.of(recorded(folder).spec), journal).next()
    assert assignment is not None
    return assignment


def there(address: Address) -> dict[str, str]:
    """The files of the first trial at the address, each holding the epoch that it is of."""
    found = {name: Remotes(address).read(f"trials/001/{name}") for name in ("confusions.npz", "best.pt", "last.pt")}
    return {name: contents.decode() for name, contents in found.items() if contents is not None}


def on_cluster(folder: Path, go: Go, listener: Callable[[Event], None] | None = None) -> Halt | None:
    """Run the sweep as `launch --address` does, with trials that change their node at every attempt. Why it stopped."""

    def on_another_node(assignment: Assignment) -> Any:
        go(f"node {assignment.attempt % 2}")
        try:
            return factory(assignment)
        finally:
            go("driver")

    with (
        mirrored(folder, print, on_nodes=True) as kept,
        Journal(folder / "journal.jsonl", fsync=False) as journal,
    ):
        sweep = Sweep(SweepPlan.of(recorded(folder).spec), journal)
        sweep.interrupted("its driver died", lost="driver")
        sweep.listen(Collection(sweep.plan, sweep.state, sweep.folder, kept.collected).on_event)
        if listener is not None:
            sweep.listen(listener)
        kept.start(sweep.halt)
        factory = kept.trials(PathTrial)
        InProcess().run(sweep, on_another_node)
    return sweep.halted


# -- one trial -----------------------------------------------------------------------------------------------------


def test_a_trial_goes_on_on_another_node_from_what_the_first_had_told(
    storage: Address, first: Assignment, machine: Go
) -> None:
    factory = pickle.loads(pickle.dumps(OnNodes(storage / "night-1", PathTrial)))
    machine("node 1")
    trial = factory(first)
    assert [trial.step().epoch, trial.step().epoch] == [1, 2]
    assert there(storage / "night-1") == {"confusions.npz": "2", "best.pt": "2", "last.pt": "2"}
    machine("node 2")  # the first one is lost, without a word
    again = factory(replace(first, attempt=2, reported=2))
    assert again.step().epoch == 3
    assert trained == [("001", 1), ("001", 2), ("001", 3)]
    assert there(storage / "night-1")["last.pt"] == "3"


def test_paths_are_told_as_they_are_on_the_drivers_machine(storage: Address, first: Assignment, machine: Go) -> None:
    machine("node 1")
    trial = OnNodes(storage / "night-1", PathTrial)(first)
    assert trial.facts == {"checkpoint": str(first.folder / "best.pt"), "gmacs": 1.0}


def test_an_epoch_whose_files_were_not_all_sent_is_not_told(
    storage: Address, first: Assignment, machine: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    """best.pt gets there and last.pt does not: the next attempt trains the epoch again."""
    machine("node 1")
    trial = OnNodes(storage / "night-1", PathTrial)(first)
    trial.step()
    put = Remotes.put

    def but_not_last(remotes: Remotes, name: str, file: Path) -> None:
        if name == "last.pt":
            raise DataError("s3://...: access denied")
        put(remotes, name, file)

    with monkeypatch.context() as patch:
        patch.setattr(Remotes, "put", but_not_last)
        with pytest.raises(DataError, match=r"^node .*: access denied"):
            trial.step()
    machine("node 2")
    again = OnNodes(storage / "night-1", PathTrial)(replace(first, attempt=2, reported=1))
    assert again.step().epoch == 2
    assert trained == [("001", 1), ("001", 2), ("001", 2)]


def test_an_older_attempt_that_still_runs_elsewhere_writes_no_more(
    storage: Address, first: Assignment, machine: Go
) -> None:
    factory = OnNodes(storage / "night-1", PathTrial)
    machine("node 1")
    old = factory(first)
    old.step()
    machine("node 2")
    new = factory(replace(first, attempt=2, reported=1))
    with pytest.raises(
        StaleAttemptError, match=r"trials/001: attempt 2 by \w+ owns this trial now; attempt 1 by \w+ may"
    ):
        old.step()
    assert there(storage / "night-1")["last.pt"] == "1"
    assert new.step().epoch == 2
    with pytest.raises(StaleAttemptError):
        factory(first)  # it starts late


def test_a_worker_that_outlives_its_driver_writes_no_more_once_another_took_over(
    storage: Address, first: Assignment, machine: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    Uploads(first.folder.parents[1], storage / "night-1").send()
    machine("node 1")
    trial = OnNodes(storage / "night-1", PathTrial)(first)
    trial.step()
    machine("another driver")
    monkeypatch.setattr(lease, "LEASE_S", -1.0)
    folder = taken_up(storage / "night-1", print, trials=False)
    assert kept_files(folder) == {}
    with pytest.raises(StaleAttemptError, match="trials/001: another driver took the sweep over; attempt 1 by"):
        trial.step()


def test_an_outage_is_waited_out_and_a_long_one_is_said_with_the_node(
    storage: Address, first: Assignment, machine: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("node 1")
    trial = OnNodes(storage / "night-1", PathTrial)(first)
    failures = 3
    read = Remotes.read

    def away(remotes: Remotes, name: str) -> bytes | None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise DataError("s3://bucket: cannot be used (timeout)") from TimeoutError()
        return read(remotes, name)

    monkeypatch.setattr(Remotes, "read", away)
    assert trial.step().epoch == 1
    assert failures < 0
    failures = 10**9
    monkeypatch.setattr(nodes, "PATIENCE_S", 0.05)
    with pytest.raises(DataError, match=r"^node \S+: s3://bucket: cannot be used"):
        trial.step()


def test_a_node_without_credentials_says_so_at_once(
    first: Assignment, machine: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    machine("node 1")
    with pytest.raises(DataError, match=r"^node \S+: s3://b/sweeps/x: this machine has no credentials for it"):
        OnNodes(Address("s3://b/sweeps/x"), PathTrial)(first)


def test_a_node_without_the_package_says_what_to_install(
    first: Assignment, machine: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "gcsfs":
            raise ImportError("No module named 'gcsfs'")
        return imported(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    machine("node 1")
    with pytest.raises(DataError, match=r"^node \S+: gs://b/x: gs:// needs a package here: pip install 'segsweep\[gcs"):
        OnNodes(Address("gs://b/x"), PathTrial)(first)


def test_an_address_that_means_something_else_on_the_node_is_told(
    tmp_path: Path, first: Assignment, machine: Go
) -> None:
    machine("node 1")
    own_disk = Address.of(f"file://{tmp_path}/own/night-1")
    with pytest.raises(DataError, match="the sweep is not there, seen from this node; give an address"):
        OnNodes(own_disk, PathTrial)(first)


def test_a_nodes_disk_keeps_nothing(storage: Address, first: Assignment, machine: Go) -> None:
    machine("node 1")
    scratch = cache_folder() / "scratch"
    left = scratch / "of a killed worker"
    (left / "trials/007").mkdir(parents=True)
    trial = OnNodes(storage / "night-1", PathTrial)(first)
    trial.step()
    other = OnNodes(storage / "night-1", PathTrial)(replace(first, config=first.config.model_copy(), attempt=2))
    assert not left.exists()
    assert len(list(scratch.glob("*/trials/001/last.pt"))) == 2  # of those that run
    for one in (trial, other):
        one.close()
    assert not list(scratch.glob("*/"))


# -- a sweep -------------------------------------------------------------------------------------------------------


def test_a_sweep_on_nodes_is_the_sweep_on_one_machine(storage: Address, machine: Go) -> None:
    folder, expected = began(storage), began(storage, "night-0")
    on_cluster(folder, machine)
    drive(expected)
    assert results(folder) == results(expected)
    assert kept_files(folder) == {}  # nothing of them was on the driver's disk
    machine("third")
    assert kept_files(taken_up(storage / "night-1", print)) == kept_files(expected)
    machine("third")
    stopped = {id_ for id_, (status, *_) in results(expected).items() if status == "stopped"}
    assert stopped
    assert not any(Remotes(storage / f"night-1/trials/{id_}").read("last.pt") for id_ in stopped)


def test_a_sweep_may_change_between_one_machine_and_a_cluster(
    storage: Address, machine: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = began(storage)

    class StopError(BaseException):
        """As Ctrl-C twice."""

    def until(epochs: int) -> Callable[[Event], None]:
        def look(event: Event) -> None:
            if isinstance(event, EpochDone) and len(trained) == epochs:
                raise StopError

        return look

    with pytest.raises(StopError):
        drive(folder, listener=until(4))
    with pytest.raises(StopError):
        on_cluster(folder, machine, listener=until(8))
    assert kept_files(folder) == {}
    assert taken_up(storage / "night-1", print) == folder
    drive(folder)
    epochs = [event for event, _ in read_events(folder / "journal.jsonl") if isinstance(event, EpochDone)]
    assert len(trained) == len(epochs) == len({(e.trial, e.epoch) for e in epochs})
    machine("second")
    assert kept_files(taken_up(storage / "night-1", print)) == kept_files(folder)


def test_an_address_that_stays_away_stops_the_sweep_and_blames_no_trial(
    storage: Address, machine: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "PATIENCE_S", 0.0)
    folder = began(storage)
    put = Remotes.put

    def away(remotes: Remotes, name: str, file: Path) -> None:
        if len(trained) == 5:
            raise DataError("s3://bucket: cannot be used (timeout)") from TimeoutError()
        put(remotes, name, file)

    with monkeypatch.context() as patch:
        patch.setattr(Remotes, "put", away)
        halt = on_cluster(folder, machine)
    assert halt is not None
    assert re.match(r"DataError: node \S+: s3://bucket: cannot be used", halt.reason)
    (interrupted,) = [t for t in SweepState.load(folder / "journal.jsonl").trials.values() if not t.over]
    assert (interrupted.status, interrupted.failures) == ("interrupted", 0)
    assert on_cluster(folder, machine) is None
    assert all(trial.over for trial in SweepState.load(folder / "journal.jsonl").trials.values())


def test_what_mlflow_gets_is_brought_as_it_is_now(storage: Address, first: Assignment, machine: Go) -> None:
    folder = first.folder.parents[1]
    Uploads(folder, storage / "night-1").give_away()
    machine("node 1")
    trial = OnNodes(storage / "night-1", PathTrial)(first)
    for epoch in ("1", "2"):
        trial.step()
        machine("driver")
        bring(folder, "001", "confusions.npz")
        assert (first.folder / "confusions.npz").read_text() == epoch
        machine("node 1")
    bring(folder, "001", "test_confusions.npz")
    assert not (first.folder / "test_confusions.npz").exists()


def test_a_checkpoint_is_removed_only_after_the_journal_has_told_why(
    storage: Address, first: Assignment, machine: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = first.folder.parents[1]
    uploads = Uploads(folder, storage / "night-1")
    uploads.give_away()
    machine("node 1")
    OnNodes(storage / "night-1", PathTrial)(first).step()
    machine("driver")
    uploads.collected("001")
    with (folder / "journal.jsonl").open("a") as journal:
        journal.write('{"event":"of its end"}\n')

    def away(remotes: Remotes, name: str, contents: bytes) -> None:
        raise DataError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(Remotes, "write", away)
        with pytest.raises(DataError):
            uploads.send()
    assert "last.pt" in there(storage / "night-1")
    assert uploads.missing == 2
    uploads.send()
    assert set(there(storage / "night-1")) == {"confusions.npz", "best.pt"}
    assert uploads.missing == 0
