"""Sweeps that are kept at an address: what is there is enough to go on elsewhere, one driver at a time."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mirrored import SPACE, began, drive, kept_files, results, save, trained
from s3_endpoint import check_keys, s3_endpoint, use_endpoint

from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.driving.halting import Halt
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.launching import examination
from segsweep.orchestrator.mirroring import download, lease, mirror, upload
from segsweep.orchestrator.mirroring.download import taken_up
from segsweep.orchestrator.mirroring.lease import Holder, Lease
from segsweep.orchestrator.mirroring.mirror import mirrored
from segsweep.orchestrator.mirroring.places import address_of, storage_address, working_storage
from segsweep.orchestrator.mirroring.upload import Uploads
from segsweep.orchestrator.record.journal import EpochDone, Event, read_events
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.watching.status import is_running
from segsweep.trainables.addresses import Address, Remotes
from segsweep.trainables.components import DataError


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Go to a machine of that name, with a disk of its own; a test begins on `first`."""

    def go(name: str) -> None:
        monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / name))
        monkeypatch.setattr(lease, "_machine", lambda: name)

    trained.clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mirror, "LOOKS_EVERY_S", 0.01)
    monkeypatch.setattr(mirror, "BACK_OFF_S", (0.05,))
    go("first")
    return go


@pytest.fixture
def storage(tmp_path: Path) -> Address:
    return Address.of(f"file://{tmp_path}/far")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Any]:
    with s3_endpoint("sweeps") as client:
        yield client


@pytest.fixture
def s3(endpoint: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Address:
    use_endpoint(endpoint, monkeypatch)
    return Address.of(f"s3://sweeps/{tmp_path.name}")


def fetched(address: Address, machine: Callable[[str], None], name: str = "second") -> Path:
    machine(name)
    return taken_up(address, lambda line: None)


def leave(address: Address) -> None:
    Remotes(address).remove(lease.LEASE)


# -- what is there -------------------------------------------------------------------------------------------------


def test_a_path_tells_where_a_sweep_is_kept(tmp_path: Path, storage: Address) -> None:
    folder = working_storage(storage) / "night-1"
    assert str(address_of(folder)) == f"file://{tmp_path}/far/night-1"
    assert storage_address(tmp_path / "sweeps") is None
    assert address_of(tmp_path / "sweeps/night-1") is None
    odd = Address.of("s3://bucket/50% = half of it")
    assert storage_address(working_storage(odd)) == odd


@pytest.mark.parametrize("part", [upload.PART, 700])
def test_another_machine_finds_everything(
    part: int, s3: Address, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (upload, download):
        monkeypatch.setattr(module, "PART", part)
    folder = began(s3)
    drive(folder)
    there = fetched(s3 / "night-1", machine)
    assert there != folder
    assert (there / "journal.jsonl").read_bytes() == (folder / "journal.jsonl").read_bytes()
    assert kept_files(there) == kept_files(folder)
    stopped = {id_ for id_, (status, *_) in results(folder).items() if status == "stopped"}
    assert stopped  # their last.pt was collected, here and there
    assert not any((there / f"trials/{id_}/last.pt").exists() for id_ in stopped)
    sent = len(trained)
    drive(there)
    assert len(trained) == sent  # it was over


def test_whenever_a_machine_is_lost_another_goes_on_and_trains_nothing_twice_that_had_been_sent(
    storage: Address, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = began(storage, "night-0")
    drive(expected, mirroring=False)
    writes = 1
    while True:
        writes += 3
        name = f"night-{writes}"
        machine(f"first of {writes}")
        folder = began(storage, name)
        lost = _lost_after(writes, Uploads(folder, storage / name), folder, monkeypatch)
        if not lost:
            break
        trained.clear()
        there = fetched(storage / name, machine, f"second of {writes}")
        sent = {path.parent.name: int(path.read_text()) for path in there.glob("trials/*/last.pt")}
        drive(there)
        assert {id_: best for id_, (*_, best) in results(there).items()} == {
            id_: best for id_, (*_, best) in results(expected).items()
        }
        assert not [epoch for trial, epoch in trained if epoch <= sent.get(trial, 0)]
        epochs = [e for e, _ in read_events(there / "journal.jsonl") if isinstance(e, EpochDone)]
        assert not any(e.redone for e in epochs)
        for id_, trial in SweepState.load(there / "journal.jsonl").trials.items():
            assert [e.epoch for e in epochs if e.trial == id_] == list(range(1, trial.epoch + 1))
    assert writes > 30


def _lost_after(writes: int, uploads: Uploads, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run the sweep on a machine that is lost after so many writes to the address; False if it ended before."""
    left = writes

    def write(remotes: Remotes, name: str, act: Callable[[str], object]) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise DataError("the machine is gone")
        replace(remotes, name, act)

    def send(event: Event) -> None:
        if isinstance(event, EpochDone) and left > 0:
            with suppress(DataError):
                uploads.send()

    replace = Remotes._replace
    with monkeypatch.context() as patch:
        patch.setattr(upload, "AT_ONCE", 1)
        patch.setattr(Remotes, "_replace", write)
        drive(folder, listener=send, mirroring=False)
    return left <= 0


def test_a_checkpoint_is_never_newer_than_the_best_beside_it(
    storage: Address, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training goes on while files are sent."""
    folder = began(storage)
    drive(folder, mirroring=False)
    trial = folder / "trials/001"
    put, epochs = Remotes.put, iter(range(10, 100))

    def and_train(remotes: Remotes, name: str, file: Path) -> None:
        if name.startswith("trials/001/"):
            save(trial, next(epochs))
        put(remotes, name, file)

    save(trial, 9)
    monkeypatch.setattr(Remotes, "put", and_train)
    Uploads(folder, storage / "night-1").send()
    there = fetched(storage / "night-1", machine) / "trials/001"
    saved = [int((there / name).read_text()) for name in ("last.pt", "best.pt", "confusions.npz")]
    assert saved == [9, 9, 9]


def test_files_of_trials_that_the_journal_does_not_know_are_removed(
    storage: Address, machine: Callable[[str], None], tmp_path: Path
) -> None:
    """The next trial of that number may be another configuration."""
    folder = began(storage)
    drive(folder)
    save_elsewhere = tmp_path / "far/night-1/trials/006"
    save_elsewhere.mkdir()
    (save_elsewhere / "last.pt").write_text("3")
    there = fetched(storage / "night-1", machine)
    assert not (there / "trials/006").exists()
    assert not (save_elsewhere / "last.pt").exists()


def test_a_part_of_the_journal_that_is_damaged_is_said(
    storage: Address, machine: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (upload, download):
        monkeypatch.setattr(module, "PART", 700)
    drive(began(storage))
    (tmp_path / "far/night-1/journal/00001").write_bytes(b"torn")
    with pytest.raises(
        InputError, match=r"night-1: journal/00001 is damaged \(4 bytes of 700\); restore it from a copy"
    ):
        fetched(storage / "night-1", machine)


# -- outages -------------------------------------------------------------------------------------------------------


def test_an_outage_stops_nothing_and_everything_arrives_later(
    s3: Address, endpoint: Any, machine: Callable[[str], None]
) -> None:
    folder = began(s3)
    seen: list[str] = []

    def meddle(event: Event) -> None:
        if isinstance(event, EpochDone) and len(trained) == 3:
            check_keys(endpoint, after="0")
        if isinstance(event, EpochDone) and len(trained) == 6:
            time.sleep(0.3)
            seen.append("refused")
            check_keys(endpoint, after="inf")

    try:
        drive(folder, listener=meddle)
    finally:
        check_keys(endpoint, after="inf")
    assert seen
    assert kept_files(fetched(s3 / "night-1", machine)) == kept_files(folder)


def test_what_an_outage_at_the_end_held_back_is_sent_by_sync(
    s3: Address, endpoint: Any, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(mirror.Mirror.close, "__defaults__", (0.2,))
    folder = began(s3)

    def away(event: Event) -> None:
        if isinstance(event, EpochDone) and len(trained) == 3:
            check_keys(endpoint, after="0")

    try:
        drive(folder, listener=away)
    finally:
        check_keys(endpoint, after="inf")
    assert f"{s3}/night-1 lacks" in caplog.text
    assert f"later: segsweep sync {s3}/night-1" in caplog.text
    assert mirror.sync(folder) > 0
    assert mirror.sync(folder) == 0
    assert kept_files(fetched(s3 / "night-1", machine)) == kept_files(folder)


# -- one driver at a time ------------------------------------------------------------------------------------------


def held(storage: Address, age_s: float, pid: int = 17, machine: str = "elsewhere") -> None:
    holder = {"host": "node-7", "pid": pid, "machine": machine, "time": time.time() - age_s}
    Remotes(storage / "night-1").write(lease.LEASE, json.dumps(holder).encode())


def test_a_second_driver_is_refused_while_the_first_renews_its_lease(storage: Address) -> None:
    folder = began(storage)
    Uploads(folder, storage / "night-1").send()
    held(storage, age_s=20)
    said = r"night-1: process 17 on node-7 runs this sweep \(it said so 20 s ago\); wait for it .* try again in 40 s"
    with pytest.raises(InputError, match=said):
        taken_up(storage / "night-1", print)
    with pytest.raises(InputError, match=said):
        drive(folder)
    assert is_running(folder)


def test_a_lease_that_ran_out_is_taken_over_and_said_so(storage: Address) -> None:
    folder = began(storage)
    held(storage, age_s=61)
    assert not is_running(folder)
    (line,) = drive(folder)
    assert line.endswith("taken over from process 17 on node-7, which renewed its lease 61 s ago for the last time")
    assert Lease(storage / "night-1").holder() is None  # released at the end


def test_a_driver_of_this_machine_that_died_is_known_at_once(storage: Address) -> None:
    folder = began(storage)
    held(storage, age_s=1, pid=2**22 + 1, machine="first")  # beyond every process id
    assert "taken over" in drive(folder)[0]


def test_a_driver_that_was_taken_for_dead_stops_and_writes_there_no_more(
    storage: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWED_EVERY_S", 0.0)
    folder = began(storage)
    halts: list[Halt] = []
    with mirrored(folder, print) as kept:
        kept.start(halts.append)
        deadline = time.monotonic() + 10
        while not halts:
            held(storage, age_s=0)  # a renewal that had begun may hide one
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.05)
        before = Remotes(storage / "night-1").files()
        (folder / "trials/001").mkdir(parents=True)
        save(folder / "trials/001", 1)
        time.sleep(0.1)
    assert halts[0].reason.startswith("process 17 on node-7 goes on with")
    assert Remotes(storage / "night-1").files() == before


def test_of_two_machines_that_went_on_the_address_keeps_one_and_the_disk_the_other(
    storage: Address, machine: Callable[[str], None]
) -> None:
    address = storage / "night-1"
    first = began(storage)
    Uploads(first, address).send()
    second = fetched(address, machine)
    drive(second)
    machine("first")
    drive(first, mirroring=False)  # the network was away
    ours = (first / "journal.jsonl").read_bytes()
    lines: list[str] = []
    assert taken_up(address, lines.append) == first
    assert (first / "journal.jsonl").read_bytes() == (second / "journal.jsonl").read_bytes()
    assert (first.parent / "night-1.1/journal.jsonl").read_bytes() == ours
    assert lines[0].startswith("another machine went on with night-1; what this one had not sent by then is kept in")


def test_what_is_only_here_is_not_fetched_over(storage: Address) -> None:
    folder = began(storage)
    Uploads(folder, storage / "night-1").send()
    drive(folder, mirroring=False)
    before = (folder / "journal.jsonl").read_bytes(), kept_files(folder)
    assert taken_up(storage / "night-1", print) == folder
    assert ((folder / "journal.jsonl").read_bytes(), kept_files(folder)) == before


def test_what_somebody_removed_there_is_sent_again(
    storage: Address, machine: Callable[[str], None], tmp_path: Path
) -> None:
    folder = began(storage)
    drive(folder)
    shutil.rmtree(tmp_path / "far/night-1/trials/001")
    (tmp_path / "far/night-1/journal/00000").unlink()
    assert taken_up(storage / "night-1", print) == folder
    mirror.sync(folder)
    assert kept_files(fetched(storage / "night-1", machine)) == kept_files(folder)


# -- commands ------------------------------------------------------------------------------------------------------


def segsweep(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def refused(*arguments: str) -> str:
    with pytest.raises(InputError) as caught:
        segsweep(*arguments)
    return str(caught.value)


def test_status_looks_at_the_address_and_says_who_runs_it(storage: Address, machine: Callable[[str], None]) -> None:
    drive(began(storage))
    machine("second")
    found = json.loads(segsweep("status", f"{storage}/night-1", "--json").stdout)
    assert (found["trials"], found["address"]) == (5, f"{storage}/night-1")
    held(storage, age_s=1)
    assert json.loads(segsweep("status", "--storage", str(storage), "--json").stdout)["state"] == "running"
    assert refused("stop", "--storage", str(storage)) == "night-1: is run by process 17 on node-7; ask there"


def test_an_unknown_sweep_is_told_with_those_that_are_there(storage: Address) -> None:
    drive(began(storage))
    for verb in ("status", "resume"):
        assert refused(verb, f"{storage}/nihgt-1") == (
            f"{storage}: no sweep 'nihgt-1'. Did you mean 'night-1'? There are: night-1"
        )


@pytest.fixture
def space(tmp_path: Path) -> str:
    (tmp_path / "night.yaml").write_text(SPACE.replace("streets, name: day", "streets, train: 2, val: 2, test: 2"))
    return "night.yaml"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://nobody/sweeps", "--storage: there is nothing at s3://nobody/sweeps: no such bucket"),
        ("hdfs://data/sweeps", "--storage: hdfs:// is not known. Give s3://, gs://, file:// or a folder"),
        (f"s3://sweeps/{'a' * 300}", "is too long; give an address of less than 255 characters"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_at_launch(
    address: str, message: str, s3: Address, space: str
) -> None:
    assert message in refused("launch", space, "--in-process", "--storage", address)


def test_credentials_are_asked_for_at_launch(s3: Address, space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "this machine has no credentials for it" in refused("launch", space, "--in-process", "--storage", str(s3))


def test_a_name_that_is_taken_at_the_address_is_refused(
    storage: Address, space: str, machine: Callable[[str], None]
) -> None:
    drive(began(storage))
    machine("second")
    said = refused("launch", space, "--in-process", "--storage", str(storage), "--name", "night-1")
    assert said.startswith(f"--name night-1: {storage}/night-1 exists; choose another --name, or go on with it:")


def test_holders_are_told_apart_by_machine_and_process() -> None:
    holder = Holder(platform.node(), 1, "first", 0.0)
    assert not holder.is_us
    assert holder.is_gone(now=61.0)
    assert not holder.is_gone(now=59.0)  # process 1 is always there


def test_doctor_tries_the_address(storage: Address, s3: Address) -> None:
    def found(address: str) -> examination.Finding:
        return examination._storage(examination.Surroundings(working_storage(Address.of(address)), ""))

    assert found(str(storage)).message.startswith(
        f"{storage} can be written; sweeps run in {working_storage(storage)}:"
    )
    assert (found("s3://nobody/sweeps").state, found("s3://nobody/sweeps").subject) == ("fault", "storage")
