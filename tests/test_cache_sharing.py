"""Several processes and one cache: who builds, who waits, what a kill leaves, and what is removed to make room."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from waiting import wait_until

from segsweep.trainables.cache.building import Job, build
from segsweep.trainables.cache.cached_split import CachedSplit, open_split
from segsweep.trainables.cache.entries import entries
from segsweep.trainables.cache.files import Header, read_log
from segsweep.trainables.cache.locks import remove, writing
from segsweep.trainables.components import DataError, Dataset, DatasetCard, Pair, Sample
from segsweep.trainables.data.workers import usable_cpus
from segsweep.trainables.datasets import streets
from segsweep.trainables.datasets._files import read_image

SIZE = (32, 48)
CARD = DatasetCard(("left", "right"), ((0, 0, 0), (255, 0, 0)))
GIB = 2**30


def grey(value: int) -> Pair:
    return Pair(np.full((8, 8, 3), value, np.uint8), np.ones((8, 8), np.uint8))


def dataset(*reads: Callable[[], object]) -> Dataset:
    return Dataset(CARD, {"train": [Sample(f"s{i}", str(i), read) for i, read in enumerate(reads)]})  # type: ignore[arg-type]


def cached(folder: Path, name: str, images: int = 20) -> CachedSplit:
    """Of 20 images by default: 20 * (32 * 48 * 4 + 64) bytes, and a log of about 1 kB."""
    return open_split(dataset(*[partial(grey, 7)] * images), name, "train", SIZE, folder)


def names(folder: Path) -> list[str]:
    return [entry.header.dataset for entry in entries(folder) if entry.header]


# -- processes that build ---------------------------------------------------------------------------------------------


def fill(place: Path, data: Dataset, processes: int) -> list[tuple[int, int]]:
    """Build the cache of a train split; what was reported meanwhile."""
    reports: list[tuple[int, int]] = []
    samples = data.splits["train"]
    header = Header(dataset="it", split="train", image_size=SIZE, images=len(samples), classes=data.card.classes)
    with writing(place, "is not there") as lock:
        build(Job(place, header, samples, lock, lambda *it: reports.append(it), processes))
    return reports


def contents(place: Path) -> dict[int, str]:
    return {number: chunk.sha256 for number, chunk in read_log(place).chunks.items()}


def test_any_number_of_processes_writes_the_same_files(tmp_path: Path) -> None:
    data = streets.build(streets.Options(train=40))
    fill(tmp_path / "one", data, 1)
    reports = fill(tmp_path / "two", data, 2)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert len(contents(tmp_path / "two")) == 3
    assert (reports[0], reports[-1]) == ((0, 40), (40, 40))
    assert reports == sorted(reports)


def test_samples_that_no_other_process_can_read_are_read_here(tmp_path: Path) -> None:
    fill(tmp_path / "two", dataset(*[lambda: grey(7)] * 20), 2)  # a lambda cannot be pickled
    fill(tmp_path / "one", dataset(*[partial(grey, 7)] * 20), 1)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def test_an_unreadable_file_is_named_by_whichever_process_meets_it(tmp_path: Path) -> None:
    samples = [*streets.build(streets.Options(train=40)).splits["train"]]
    samples[33] = Sample("bad", "", partial(read_image, tmp_path / "gone.png"))  # type: ignore[arg-type]
    before = children()
    with pytest.raises(DataError, match=r"gone\.png: cannot be read as an image"):
        fill(tmp_path / "it", Dataset(streets.describe(streets.Options()), {"train": samples}), 2)
    assert not (tmp_path / "it").exists()
    assert children() == before


def test_a_process_that_dies_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    good = streets.build(streets.Options(train=31))
    data = Dataset(good.card, {"train": [*good.splits["train"], Sample("bad", "", partial(os._exit, 9))]})
    with pytest.raises(DataError, match="ended with code 9"):
        fill(tmp_path / "it", data, 2)
    assert not (tmp_path / "it").exists()
    assert children() == ""


@pytest.mark.parametrize(("given", "cpus"), [("1", 1), ("1,2", 1), ("100000", None), ("", None), ("many", None)])
def test_no_more_processes_than_cpus_or_threads_that_were_allowed(
    given: str, cpus: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert usable_cpus() == (cpus or len(os.sched_getaffinity(0)))


BUILDER = """
import os, sys, time
from pathlib import Path
import numpy as np
from segsweep.trainables.cache.cached_split import open_split
from segsweep.trainables.components import Dataset, DatasetCard, Pair, Sample

folder, log, images = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def read():
    with open(log, "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(0.02)
    return Pair(np.full((8, 8, 3), 7, np.uint8), np.ones((8, 8), np.uint8))

card = DatasetCard(("a", "b"), ((0, 0, 0), (1, 1, 1)))
data = Dataset(card, {"train": [Sample(str(i), "", read) for i in range(images)]})
split = open_split(data, "slow", "train", (8, 8), folder)
inode = (split.folder / "00000").stat().st_ino
print(split.fingerprint, inode, sum(int(split.pair(i).image.sum()) for i in range(images)))
"""


def start_builder(folder: Path, log: Path, images: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER, str(folder), str(log), str(images)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def reads(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


LOOKED_AT = 3  # samples that are read once more, to know how much room is needed


def test_of_several_processes_one_builds_and_the_others_wait_and_read(tmp_path: Path) -> None:
    folder, log = tmp_path / "cache", tmp_path / "log"
    processes = [start_builder(folder, log, 10) for _ in range(3)]
    outputs = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(reads(log)) == 10 + LOOKED_AT
    assert len(set(reads(log))) == 1  # by one process
    assert len(outputs) == 1  # and all see the same file
    assert outputs.pop().endswith(f" {10 * 8 * 8 * 3 * 7}\n")


def test_after_a_killed_builder_the_next_one_goes_on(tmp_path: Path) -> None:
    folder, log = tmp_path / "cache", tmp_path / "log"
    killed = start_builder(folder, log, 48)
    wait_until(lambda: list(folder.glob("*/00000")), "the first part", every_s=0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    log.unlink()
    assert start_builder(folder, log, 48).communicate(timeout=60)[0].endswith(f" {48 * 8 * 8 * 3 * 7}\n")
    assert len(reads(log)) <= 32 + LOOKED_AT  # the first sixteen were there
    assert [path.name for path in sorted(folder.glob("*/*"))] == ["00000", "00001", "00002", "cache.jsonl"]


MANY = """
import sys
from pathlib import Path
from segsweep.trainables.cache.building import Job, build
from segsweep.trainables.cache.files import Header
from segsweep.trainables.cache.locks import writing
from segsweep.trainables.datasets import streets

data = streets.build(streets.Options(train=48, size=(96, 160)))
header = Header(dataset="it", split="train", image_size=(32, 48), images=48, classes=data.card.classes)
place = Path(sys.argv[1])
with writing(place, "") as lock:
    build(Job(place, header, data.splits["train"], lock, lambda *it: print(*it, flush=True), 2))
"""


def test_after_a_killed_builder_with_processes_the_next_one_waits_for_them_and_goes_on(tmp_path: Path) -> None:
    data = streets.build(streets.Options(train=48, size=(96, 160)))
    place = tmp_path / "killed"
    killed = subprocess.Popen([sys.executable, "-c", MANY, str(place)], stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    assert [killed.stdout.readline() for _ in range(2)] == ["0 48\n", "16 48\n"]
    killed.kill()
    killed.communicate()
    reports = fill(place, data, 1)
    assert reports[0][0] >= 16
    fill(tmp_path / "straight", data, 1)
    assert contents(place) == contents(tmp_path / "straight")
    assert len(list(place.iterdir())) == 4


# -- a cache that may only be read ------------------------------------------------------------------------------------


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may read, other than pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def as_a_reader(folder: Path, work: Callable[[], object]) -> None:
    """Run `work` in a process that may not write `folder`; fails if it does."""
    folder.chmod(0o555)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # later Pythons warn of forks beside threads
        child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:  # whom no permission stops
                os.setuid(65534)
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    folder.chmod(0o755)


def test_a_whole_cache_is_used_where_nothing_may_be_written(public: Path) -> None:
    before = cached(public, "it")
    shutil.rmtree(public / f"{before.folder.name}.lock", ignore_errors=True)

    def work() -> None:
        assert cached(public, "it").fingerprint == before.fingerprint

    as_a_reader(public, work)


def test_a_cache_that_lacks_something_and_may_not_be_written_says_what_and_where(public: Path) -> None:
    place = cached(public, "it").folder
    (place / "00001").unlink()

    def work() -> None:
        with pytest.raises(DataError, match=r"cannot be written .*lacks it-train-32x48-\w+ \(00001 changed\)"):
            cached(public, "it")
        with pytest.raises(DataError, match=r"\(Permission denied\) and lacks other-.*Set SEGSWEEP_CACHE to a folder"):
            cached(public, "other")

    for lock in public.glob("*.lock"):
        lock.unlink()
    as_a_reader(public, work)


# -- room -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def room_for_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two caches, `old` and `new`, in a folder that may hold one more kilobyte."""
    for name, when in (("old", 1000), ("new", 2000)):
        os.utime(cached(tmp_path, name).folder / "cache.jsonl", (when, when))
    limit = sum(entry.size for entry in entries(tmp_path)) + 1000
    monkeypatch.setenv("SEGSWEEP_CACHE_GIB", str(limit / GIB))
    return tmp_path


def test_what_was_not_used_for_longest_makes_room(room_for_two: Path) -> None:
    cached(room_for_two, "third")
    assert names(room_for_two) == ["new", "third"]
    assert sorted(path.name.partition("-")[0] for path in room_for_two.iterdir()) == ["new", "new", "third", "third"]


def test_opening_a_cache_is_using_it(room_for_two: Path) -> None:
    cached(room_for_two, "old")
    cached(room_for_two, "third")
    assert names(room_for_two) == ["old", "third"]


def test_what_is_in_use_never_makes_room(room_for_two: Path) -> None:
    old = cached(room_for_two, "old")
    os.utime(old.folder / "cache.jsonl", (1000, 1000))
    cached(room_for_two, "third")
    assert names(room_for_two) == ["old", "third"]
    new = cached(room_for_two, "third")
    with pytest.raises(DataError, match=r"decoding fourth-.* takes about 0\.000116 GiB.*SEGSWEEP_CACHE_GIB"):
        cached(room_for_two, "fourth")
    assert names(room_for_two) == ["old", "third"]
    assert old.pair(3).image.mean() == new.pair(3).image.mean() == 7
    del old
    cached(room_for_two, "fourth")
    assert names(room_for_two) == ["third", "fourth"]


def test_nothing_but_caches_makes_room(room_for_two: Path) -> None:
    (room_for_two / "photos").mkdir()
    (room_for_two / "photos/a.png").write_bytes(b"x" * 10**6)
    cached(room_for_two, "third")
    assert (room_for_two / "photos/a.png").exists()


@pytest.mark.parametrize("given", ["0", "-1", "nan", "much"])
def test_a_limit_that_is_no_size_is_refused(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGSWEEP_CACHE_GIB", given)
    with pytest.raises(DataError, match=f"SEGSWEEP_CACHE_GIB: '{given}' is not a size in GiB"):
        cached(tmp_path, "it")


def test_by_default_the_cache_takes_half_of_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEGSWEEP_CACHE_GIB", raising=False)
    needed = 20 * (SIZE[0] * SIZE[1] * 4 + 64)
    for free, fits in ((2 * needed - 2, False), (2 * needed + 2, True)):
        usage = shutil._ntuple_diskusage(10**12, 0, free)  # type: ignore[attr-defined]
        monkeypatch.setattr(shutil, "disk_usage", lambda path, usage=usage: usage)
        if fits:
            cached(tmp_path, "it")
            continue
        with pytest.raises(DataError, match="now half of what is free"):
            cached(tmp_path, "it")


def test_removing_and_opening_at_once_never_shows_half_a_cache(tmp_path: Path) -> None:
    seen: list[float] = []

    def use() -> None:
        seen.extend(cached(tmp_path, "it").pair(19).image.mean() for _ in range(25))

    users = [threading.Thread(target=use) for _ in range(3)]
    for user in users:
        user.start()
    removed = 0
    while any(user.is_alive() for user in users):
        removed += sum(remove(entry.folder) for entry in entries(tmp_path))
    assert seen == [7] * 75
    assert removed > 0
