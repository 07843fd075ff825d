"""Dataset roots at addresses: what lies there is copied to this machine's disk, once and whole."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from s3_endpoint import KEYS, check_keys, s3_endpoint, use_endpoint
from waiting import wait_until

from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.trainables.addresses import Address, Remotes
from segsweep.trainables.cache import staging
from segsweep.trainables.cache.cached_split import open_split
from segsweep.trainables.cache.entries import entries
from segsweep.trainables.cache.staging import staged
from segsweep.trainables.components import DataError
from segsweep.trainables.data.splits import open_dataset
from segsweep.trainables.datasets import bdd100k_drivable
from segsweep.trainables.datasets._files import resolve_root
from segsweep.trainables.places import variables
from segsweep.trainables.storage import is_storage_trouble

SPACE = """\
datasets: [{{type: folder, root: "{root}", name: mine}}]
models: [{{architecture: linknet, encoder: tu-mobilenetv3_small_050}}]
trials: 1
epochs: 1
batch_size: 2
image_size: [32, 32]
"""
FETCH = """
import sys
from segsweep.trainables.addresses import Address
from segsweep.trainables.cache.staging import staged
counts = []
folder = staged(Address.of(sys.argv[1]), lambda done, total: counts.append(done))
print(folder, counts[-1] - counts[0] if counts else 0)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEGSWEEP_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Any]:
    with s3_endpoint("data") as client:
        yield client


@pytest.fixture
def s3(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The client of an S3 that s3fs finds as it would any other: by the environment."""
    use_endpoint(endpoint, monkeypatch)
    return endpoint


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve images with masks, a class file and lists, in a folder."""
    root, draw = tmp_path / "source", np.random.default_rng(0)
    for name in ("images", "masks", "splits"):
        (root / name).mkdir(parents=True)
    for number in range(12):
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), np.uint8)).save(root / f"images/{number:02}.png")
        Image.fromarray(draw.integers(0, 2, (32, 32), np.uint8)).save(root / f"masks/{number:02}.png")
    (root / "classes.json").write_text('{"names": ["background", "thing"]}')
    (root / "splits/train.txt").write_text("".join(f"{number:02}\n" for number in range(8)))
    (root / "splits/val.txt").write_text("".join(f"{number:02}\n" for number in range(8, 12)))
    return root


@pytest.fixture
def uploaded(s3: Any, source: Path) -> str:
    """The same files at an S3 address of their own."""
    prefix = f"{source.parent.name}/mine"
    for path in source.rglob("*"):
        if path.is_file():
            s3.upload_file(str(path), "data", f"{prefix}/{path.relative_to(source)}")
    s3.put_object(Bucket="data", Key=f"{prefix}/images/", Body=b"")  # as consoles mark a folder
    s3.put_object(Bucket="data", Key=f"{prefix}_too/other.png", Body=b"not asked for")
    return f"s3://data/{prefix}"


@pytest.fixture
def anew() -> Callable[[], None]:
    """As if this were another process: what was looked up is forgotten."""

    def anew() -> None:
        for descriptor in staging._staged.values():
            os.close(descriptor)
        staging._staged.clear()

    return anew


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def at(folder: Path) -> Address:
    return Address.of(f"file://{folder}")


def fetching(address: str, **limits: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCH, address]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **limits)


def segsweep(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


# -- what is copied ------------------------------------------------------------------------------------------------


def test_everything_below_the_address_is_copied_and_nothing_beside_it(uploaded: str, source: Path) -> None:
    assert contents(staged(Address.of(uploaded))) == contents(source)


def test_the_data_are_the_same_wherever_they_lie(uploaded: str, source: Path) -> None:
    def fingerprints(root: str) -> list[str]:
        dataset = open_dataset("folder", {"root": root})
        return [open_split(dataset, "mine", split, (32, 32)).fingerprint for split in ("train", "val")]

    assert fingerprints(uploaded) == fingerprints(f"file://{source}") == fingerprints(str(source))


def test_only_what_changed_is_fetched_again(source: Path, anew: Callable[[], None]) -> None:
    folder = staged(at(source))
    before = {name: (folder / name).stat().st_ino for name in contents(folder)}
    (source / "images/03.png").write_bytes(b"another picture")
    (source / "more").mkdir()
    (source / "more/new.txt").write_text("new")
    shutil.rmtree(source / "splits")
    anew()
    counts: list[tuple[int, int]] = []
    assert staged(at(source), lambda done, total: counts.append((done, total))) == folder
    assert contents(folder) == contents(source)
    assert not (folder / "splits").exists()
    assert counts == [(24, 26), (25, 26), (26, 26)]
    kept = before.keys() - {"images/03.png", "splits/train.txt", "splits/val.txt"}
    assert all((folder / name).stat().st_ino == before[name] for name in kept)


def test_a_copy_keeps_the_time_of_change(source: Path) -> None:
    os.utime(source / "images/00.png", (1_000_000, 1_000_000))
    assert (staged(at(source)) / "images/00.png").stat().st_mtime == 1_000_000


def test_a_damaged_copy_is_fetched_again(source: Path, anew: Callable[[], None]) -> None:
    folder = staged(at(source))
    with (folder / "images/05.png").open("r+b") as file:
        file.truncate(10)
    (folder / "images/06.png").unlink()
    anew()
    assert contents(staged(at(source))) == contents(source)


def test_a_killed_fetch_is_gone_on_from(tmp_path: Path, cache: Path) -> None:
    source = tmp_path / "many"
    source.mkdir()
    for number in range(1000):
        (source / f"{number}.bin").write_bytes(os.urandom(20_000))
    process = fetching(str(at(source)))

    def fifty() -> bool:
        return any(len(log.read_bytes().splitlines()) >= 50 for log in cache.glob("*/cache.jsonl"))

    wait_until(fifty, "fifty files", every_s=0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (log,) = cache.glob("*/cache.jsonl")
    there = len(contents(log.parent / "files"))
    assert 50 <= there < 1000
    out, err = fetching(str(at(source))).communicate(timeout=60)
    folder, fetched = out.rsplit(maxsplit=1)
    assert int(fetched) <= 1000 - 49, err
    assert contents(Path(folder)) == contents(source)
    assert not any((log.parent / "parts").iterdir())


def test_two_processes_fetch_every_file_once(source: Path) -> None:
    both = [fetching(str(at(source))) for _ in range(2)]
    answers = [process.communicate(timeout=60)[0].rsplit(maxsplit=1) for process in both]
    assert answers[0][0] == answers[1][0]
    assert sorted(int(fetched) for _, fetched in answers) == [0, len(contents(source))]


def test_what_changes_while_it_is_fetched_is_fetched_again(source: Path) -> None:
    def meddle(done: int, total: int) -> None:
        if done == 0:  # listed, not yet fetched
            mask = (source / "masks/00.png").read_bytes()
            (source / "masks/00.png").write_bytes(bytes(reversed(mask)))

    assert contents(staged(at(source), meddle)) == contents(source)


def test_a_short_answer_is_not_taken_for_the_file(source: Path, anew: Callable[[], None]) -> None:
    def cut(done: int, total: int) -> None:
        if done == 0:
            (source / "masks/00.png").write_bytes(b"torn")

    with pytest.raises(DataError, match=r"masks/00\.png: 4 bytes came of \d+\. Try again"):
        staged(at(source), cut)
    assert contents(staged(at(source))) == contents(source)


def test_a_single_file_is_staged_alone(uploaded: str) -> None:
    assert contents(staged(Address.of(uploaded) / "classes.json")).keys() == {"classes.json"}


# -- room ----------------------------------------------------------------------------------------------------------


def test_copies_that_nobody_uses_make_room(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, anew: Callable[[], None]
) -> None:
    first, second = source.parent / "first", source.parent / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "a.bin").write_bytes(bytes(60_000))
    monkeypatch.setenv("SEGSWEEP_CACHE_GIB", str(100_000 / 2**30))
    staged(at(first))
    with pytest.raises(DataError, match=r"fetching second-files-.*SEGSWEEP_CACHE_GIB"):
        staged(at(second))  # the first is in use
    anew()
    staged(at(second))
    assert [entry.header and entry.header.dataset for entry in entries(cache)] == [str(at(second))]


def test_a_full_disk_is_said_with_what_is_needed(source: Path, cache: Path) -> None:
    (source / "large.bin").write_bytes(bytes(300_000))

    def small_disk() -> None:  # a file beyond the limit fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    err = fetching(str(at(source)), preexec_fn=small_disk).communicate(timeout=60)[1].splitlines()[-1]
    assert f"{cache}: file://{source} cannot be copied there (File too large)" in err
    assert "GiB are needed. Remedy: make room, or set SEGSWEEP_CACHE" in err


def test_copies_are_listed_and_removed_as_the_cache_is(source: Path, anew: Callable[[], None]) -> None:
    folder = staged(at(source))
    (listed,) = json.loads(segsweep("data", "cache", "ls", "--json").stdout)["entries"]
    files = len(contents(source))
    assert listed["dataset"] == str(at(source))
    assert (listed["split"], listed["images"], listed["state"]) == ("files", files, "whole")
    assert listed["in_use"]
    (folder / "classes.json").unlink()
    assert "damaged" in segsweep("data", "cache", "ls").stdout
    anew()
    assert segsweep("data", "cache", "clear").stdout.startswith("0.00 GiB freed, 1 removed, 0 kept")
    assert not folder.parent.exists()
    assert contents(staged(at(source))) == contents(source)


# -- what can be wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["s3://nobody/mine", "s3://nobody", "s3://data/nothing"])
def test_nothing_there_is_said_so(s3: Any, address: str) -> None:
    for ask in (lambda: staged(Address.of(address)), lambda: Remotes(Address.of(address)).check()):
        with pytest.raises(DataError, match=f"there is nothing at {address}: no such bucket, or no file") as caught:
            ask()
        assert is_storage_trouble(pickle.loads(pickle.dumps(caught.value)))  # on a node, no configuration is to blame


def test_a_file_is_no_folder(uploaded: str) -> None:
    with pytest.raises(DataError, match=r"classes\.json: is a file\. Give the folder"):
        Remotes(Address.of(uploaded) / "classes.json").check()


def test_missing_credentials_are_asked_for(uploaded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(DataError, match=r"this machine has no credentials for it\. Give it some: ~/\.aws/credentials"):
        staged(Address.of(uploaded))


def test_credentials_without_the_right_are_told_from_missing_ones(s3: Any, uploaded: str) -> None:
    check_keys(s3, after="0")
    try:
        with pytest.raises(DataError, match=rf"{uploaded}: access denied .*~/\.aws/credentials") as caught:
            staged(Address.of(uploaded))
    finally:
        check_keys(s3, after="inf")
    assert KEYS["aws_secret_access_key"] not in str(caught.value)


@pytest.mark.parametrize(("protocol", "package", "extra"), [("gs", "gcsfs", "gcs"), ("s3", "s3fs", "s3")])
def test_a_missing_package_is_named(protocol: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    with pytest.raises(DataError, match=rf"{protocol}:// needs a package here: pip install 'segsweep\[{extra}\]'"):
        staged(Address.of(f"{protocol}://data/mine"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hdfs://data/mine", r"hdfs:// is not known\. Give s3://, gs://, file:// or a folder"),
        ("s3://key:s3cret@data/mine", "addresses are recorded and hold no password"),
        ("s3://", "names no bucket"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        resolve_root(text)
    assert "s3cret" not in str(caught.value)


def test_a_name_that_leads_out_of_the_folder_is_refused(s3: Any, cache: Path) -> None:
    s3.put_object(Bucket="data", Key="evil/../../escaped.txt", Body=b"x")
    with pytest.raises(DataError, match=r"holds '\.\./\.\./escaped\.txt', which is no name of a file"):
        staged(Address.of("s3://data/evil"))
    assert not cache.exists()


def test_what_was_fetched_serves_while_the_address_does_not_answer(
    source: Path, anew: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    folder = staged(at(source))
    away = source.rename(source.parent / "away")
    anew()
    assert contents(staged(at(source))) == contents(away)
    assert "What was fetched before is used" in caplog.text
    (folder / "classes.json").unlink()
    anew()
    with pytest.raises(DataError, match="there is nothing at"):
        staged(at(source))


# -- the commands --------------------------------------------------------------------------------------------------


def test_validate_fetches_the_names_of_the_classes_and_no_image(uploaded: str, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE.format(root=uploaded))
    done = segsweep("validate", "space.yaml")
    assert done.exit_code == 0
    assert "warning" not in done.stderr
    assert [path.name for path in cache.glob("*/files/**/*")] == ["classes.json"]


def test_validate_names_the_line_of_an_address_that_is_wrong(s3: Any, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE.format(root="s3://nobody/mine"))
    warning = segsweep("validate", "space.yaml").stderr
    assert warning.startswith("warning: space.yaml:1: datasets[0].root: there is nothing at s3://nobody/mine")
    (tmp_path / "space.yaml").write_text(SPACE.format(root="ftp://data/mine"))
    with pytest.raises(InputError, match=r"space\.yaml:1: datasets\[0\]\.root: ftp:// is not known"):
        segsweep("validate", "space.yaml")


def test_relative_roots_lie_below_an_address_of_the_environment(
    uploaded: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGSWEEP_DATA", uploaded.removesuffix("/mine"))
    assert resolve_root("mine") == Address.of(uploaded)
    assert resolve_root(str(source)) == source
    assert variables()["SEGSWEEP_DATA"] == uploaded.removesuffix("/mine")
    assert len(open_dataset("folder", {"root": "mine"}).splits["train"]) == 8


@pytest.mark.parametrize("command", ["check", "stats"])
def test_data_commands_read_what_lies_at_an_address(uploaded: str, tmp_path: Path, command: str) -> None:
    (tmp_path / "space.yaml").write_text(SPACE.format(root=uploaded))
    done = segsweep("data", command, "space.yaml")
    assert done.exit_code == 0, done.stdout
    assert f"mine: fetching {uploaded}" in done.stderr


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of MLflow and SQLAlchemy
def test_a_sweep_trains_on_an_address(
    uploaded: str, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "space.yaml").write_text(SPACE.format(root=uploaded))
    done = segsweep("launch", "space.yaml", "--in-process", "--json")
    assert done.exit_code == 0, done.output
    journal = (tmp_path / "sweeps/space-1/journal.jsonl").read_text()
    assert json.loads(journal.splitlines()[0])["spec"]["datasets"][0]["options"]["root"] == uploaded


def test_the_encoding_of_bdd100k_is_found_at_an_address(s3: Any) -> None:
    s3.put_object(Bucket="data", Key="bdd/drivable_maps/labels/val/a_drivable_id.png", Body=b"")
    card = bdd100k_drivable.describe(bdd100k_drivable.Options(root="s3://data/bdd"))
    assert card == bdd100k_drivable.describe(bdd100k_drivable.Options(encoding="maps_2018"))
    assert card != bdd100k_drivable.describe(bdd100k_drivable.Options(encoding="masks_2020"))
