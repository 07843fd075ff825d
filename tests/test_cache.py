"""The cache of decoded images: right, shared, whole or not there."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from segsweep.trainables.cache import CachedSplit, open_split
from segsweep.trainables.cache_files import damage
from segsweep.trainables.components import VOID, DataError, Dataset, DatasetCard, Pair, Sample
from segsweep.trainables.datasets import camvid, streets
from segsweep.trainables.places import cache_folder, variables
from segsweep.trainables.resize import resize_image, resize_label

SIZE = (32, 48)
CARD = DatasetCard(("left", "right"), ((0, 0, 0), (255, 0, 0)))


@dataclass(frozen=True)
class Drawn:
    """Reads as an image whose red channel is 100 times its label."""

    height: int
    width: int
    value: int = 1

    def __call__(self) -> Pair:
        label = np.zeros((self.height, self.width), np.uint8)
        label[:, self.width // 2 :] = self.value
        label[0] = VOID
        image = np.zeros((self.height, self.width, 3), np.uint8)
        image[..., 0] = np.where(label == 1, 100, 0)
        return Pair(image, label)


def dataset(*reads: Callable[[], Pair], stamp: str = "") -> Dataset:
    samples = [Sample(f"s{i}", f"{stamp}{i}", read) for i, read in enumerate(reads)]
    return Dataset(CARD, {"train": samples})


THREE = dataset(Drawn(10, 20), Drawn(64, 96), Drawn(33, 7))


def cached(folder: Path, data: Dataset = THREE, size: tuple[int, int] = SIZE) -> CachedSplit:
    return open_split(data, "drawn", "train", size, folder)


def built(folder: Path) -> list[str]:
    """What lies in the cache folder, apart from lock files."""
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock") if folder.exists() else []


def test_images_and_labels_have_the_working_size_and_scoring_labels_their_own(tmp_path: Path) -> None:
    split = cached(tmp_path)
    assert split.ids == ("s0", "s1", "s2")
    assert len(split) == 3
    assert split.images.shape == (3, *SIZE, 3)
    assert split.labels.shape == (3, *SIZE)
    for index, sample in enumerate(THREE.splits["train"]):
        assert np.array_equal(split.original_label(index), sample.read().label)


def test_arrays_are_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    split = cached(tmp_path)
    assert isinstance(split.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        split.labels[0] = 0


def test_pixels_are_counted_at_original_size_without_void(tmp_path: Path) -> None:
    left = 9 * 10 + 63 * 48 + 32 * 3
    right = 9 * 10 + 63 * 48 + 32 * 4
    assert cached(tmp_path).class_counts.tolist() == [left, right]


def test_a_second_opening_reads_no_sample(tmp_path: Path) -> None:
    first = cached(tmp_path)

    def refuse() -> Pair:
        raise AssertionError("read again")

    again = cached(tmp_path, dataset(refuse, refuse, refuse))
    assert np.array_equal(first.images, again.images)
    assert first.fingerprint == again.fingerprint


def test_an_opened_cache_needs_no_right_to_write(tmp_path: Path) -> None:
    cached(tmp_path)
    for lock in tmp_path.glob("*.lock"):
        lock.unlink()
    before = {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]}
    cached(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]} == before


def test_every_change_of_content_or_setting_is_another_cache(tmp_path: Path) -> None:
    other_card = replace(THREE, card=DatasetCard(("left", "right", "third"), CARD.colors))
    folders = [
        cached(tmp_path).folder,
        cached(tmp_path, size=(32, 32)).folder,
        cached(tmp_path, dataset(Drawn(10, 20), Drawn(64, 96))).folder,
        cached(tmp_path, dataset(Drawn(10, 20), Drawn(64, 96), Drawn(33, 7), stamp="edited")).folder,
        cached(tmp_path, other_card).folder,
    ]
    assert len(set(folders)) == len(folders)


def test_the_fingerprint_is_of_the_pixels_alone(tmp_path: Path) -> None:
    fingerprint = cached(tmp_path).fingerprint
    assert cached(tmp_path / "elsewhere", size=(16, 16)).fingerprint == fingerprint
    moved = dataset(Drawn(10, 20), Drawn(64, 96), Drawn(33, 7), stamp="moved")
    assert cached(tmp_path, moved).fingerprint == fingerprint
    other = dataset(Drawn(10, 20), Drawn(64, 96), Drawn(33, 8), stamp="other")
    assert cached(tmp_path, other).fingerprint != fingerprint


def _flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["images", "labels", "originals", "manifest.json"])
@pytest.mark.parametrize(
    "spoil",
    [_flip_a_byte, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])],
    ids=["byte", "missing", "short"],
)
def test_a_damaged_cache_is_rebuilt(tmp_path: Path, name: str, spoil: Callable[[Path], object]) -> None:
    whole = cached(tmp_path)
    images, labels = np.array(whole.images), np.array(whole.labels)
    spoil(whole.folder / name)
    again = cached(tmp_path)
    assert np.array_equal(again.images, images)
    assert np.array_equal(again.labels, labels)
    assert np.array_equal(again.original_label(1), Drawn(64, 96)().label)
    assert built(tmp_path) == [whole.folder.name]


def test_a_copied_cache_is_used_after_its_bytes_were_checked(tmp_path: Path) -> None:
    split = cached(tmp_path)
    os.utime(split.folder / "images", (1, 1))  # as copying without times does
    assert damage(split.folder) is None


def test_a_cache_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/cache: the image cache cannot be written.*SEGSWEEP_CACHE"):
        cached(tmp_path / "file/cache")


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    big = dataset(*[Drawn(300, 300)] * 4)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # writing beyond fails as on a full disk
    try:
        with pytest.raises(DataError, match=r"cannot be written .*SEGSWEEP_CACHE"):
            cached(tmp_path, big, (256, 256))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert built(tmp_path) == []


def _unreadable() -> Pair:
    raise DataError("bad/a.png: cannot be read")


def test_unusable_samples_are_all_named_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bad/a\.png") as refused:
        cached(tmp_path, dataset(Drawn(10, 20), _unreadable, Drawn(8, 8, value=2)))
    assert "s2: label 2 is no class; allowed are 0..1 and 255 for void" in str(refused.value)
    assert built(tmp_path) == []


def test_many_unusable_samples_stop_the_building_early(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="stopped after 5") as refused:
        cached(tmp_path, dataset(*[_unreadable] * 9))
    assert str(refused.value).count("bad/a.png") == 5


def _unequal() -> Pair:
    return Pair(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (dataset(), "the split 'train' has no images"),
        (dataset(Drawn(1, 4)), "every pixel is void"),
        (dataset(_unequal), r"s0: a pair needs an image \(H, W, 3\) and a label \(H, W\)"),
    ],
)
def test_data_that_cannot_be_learned_from_are_refused(tmp_path: Path, data: Dataset, message: str) -> None:
    with pytest.raises(DataError, match=message):
        cached(tmp_path, data)


def test_a_split_that_the_dataset_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="drawn: the split 'test' has no images"):
        open_split(THREE, "drawn", "test", SIZE, tmp_path)


def test_names_of_datasets_may_hold_anything(tmp_path: Path) -> None:
    split = open_split(THREE, "my/../data 'x'\n", "train", SIZE, tmp_path)
    assert split.folder.parent == tmp_path


def test_pickling_sends_the_folder_and_not_the_pixels(tmp_path: Path) -> None:
    split = cached(tmp_path)
    sent = pickle.dumps(split)
    assert len(sent) < 500
    assert np.array_equal(pickle.loads(sent).images, split.images)


def test_the_default_folder_follows_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("SEGSWEEP_CACHE", raising=False)
    assert cache_folder() == Path("/home/someone/.cache/segsweep")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_folder() == Path("/var/cache/segsweep")
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path))
    assert open_split(THREE, "drawn", "train", SIZE).folder.parent == tmp_path


def test_places_given_relatively_are_found_from_another_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGSWEEP_CACHE", "caches")
    monkeypatch.delenv("SEGSWEEP_DATA", raising=False)
    assert variables() == {"SEGSWEEP_DATA": str(tmp_path), "SEGSWEEP_CACHE": str(tmp_path / "caches")}


# --- several processes -------------------------------------------------------------------------------------------

BUILDER = """
import os, sys, time
from pathlib import Path
import numpy as np
from segsweep.trainables.cache import open_split
from segsweep.trainables.components import Dataset, DatasetCard, Pair, Sample

folder, log = Path(sys.argv[1]), sys.argv[2]

def read():
    with open(log, "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(0.1)
    return Pair(np.full((8, 8, 3), 7, np.uint8), np.ones((8, 8), np.uint8))

card = DatasetCard(("a", "b"), ((0, 0, 0), (1, 1, 1)))
data = Dataset(card, {"train": [Sample(str(i), "", read) for i in range(10)]})
split = open_split(data, "slow", "train", (8, 8), folder)
print(split.fingerprint, (split.folder / "images").stat().st_ino, int(split.images.sum()))
"""


def start_builder(folder: Path, log: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER, str(folder), str(log)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def reads(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_of_several_processes_one_builds_and_the_others_wait_and_read(tmp_path: Path) -> None:
    folder, log = tmp_path / "cache", tmp_path / "log"
    processes = [start_builder(folder, log) for _ in range(3)]
    outputs = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(reads(log)) == 10  # every sample once
    assert len(set(reads(log))) == 1  # by one process
    assert len(outputs) == 1  # and all see the same file
    assert outputs.pop().endswith(f" {10 * 8 * 8 * 3 * 7}\n")


def test_after_a_killed_builder_the_next_one_starts_afresh(tmp_path: Path) -> None:
    folder, log = tmp_path / "cache", tmp_path / "log"
    killed = start_builder(folder, log)
    while len(reads(log)) < 3:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert built(folder)[0].endswith(".building")  # killed amid its work
    log.unlink()
    successor = start_builder(folder, log)
    assert successor.communicate(timeout=60)[0].endswith(f" {10 * 8 * 8 * 3 * 7}\n")
    assert len(reads(log)) == 10
    assert [name.startswith("slow-train-8x8-") for name in built(folder)] == [True]


# --- resizing ----------------------------------------------------------------------------------------------------


def disc(side: int) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return (np.hypot(x, y) < side * 0.3).astype(np.uint8)


@pytest.mark.parametrize("side", [30, 45, 77, 180])
def test_labels_stay_on_their_image_when_resized(side: int) -> None:
    """A centred disc stays centred in both; plain nearest-neighbour resizing moves labels by up to half a pixel."""
    label = resize_label(disc(120), (side, side))
    image = resize_image(np.repeat(disc(120)[..., None] * 200, 3, axis=2), (side, side))[..., 0]
    for array in (label.astype(float), image.astype(float)):
        y, x = np.mgrid[:side, :side] - (side - 1) / 2
        assert abs((array * x).sum() / array.sum()) < 0.2
        assert abs((array * y).sum() / array.sum()) < 0.2
    assert set(np.unique(label).tolist()) == {0, 1}


def test_shrunk_images_are_averages() -> None:
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.all(resize_image(stripes, (4, 4)) == 100)


# --- real data ---------------------------------------------------------------------------------------------------


def test_camvid_counts_are_those_of_its_source(data_root: Path, tmp_path: Path) -> None:
    root = data_root / "camvid"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    split = open_split(camvid.build(camvid.Options(root=str(root))), "camvid", "val", (90, 120), tmp_path)
    stated = [9.177, 25.962, 0.564, 28.953, 8.719, 16.336, 0.892, 3.078, 1.746, 0.651, 2.217]  # SOURCE.md, val px %
    pixels = 101 * 360 * 480
    assert (100 * split.class_counts / pixels).tolist() == pytest.approx(stated, abs=0.0006)
    assert 100 * (1 - split.class_counts.sum() / pixels) == pytest.approx(1.703, abs=0.0006)  # void
    assert sum(split.original_label(i).size for i in range(len(split))) == pixels


def test_building_holds_one_image_at_a_time(tmp_path: Path) -> None:
    """64 streets of 512x512 are 50 MB of images; the process grows by far less."""
    code = (
        "import resource, sys; from pathlib import Path; from segsweep.trainables.cache import open_split\n"
        "from segsweep.trainables.datasets import streets\n"
        "def peak(count):\n"
        "    data = streets.build(streets.Options(train=count, size=(512, 512)))\n"
        "    open_split(data, 'streets', 'train', (512, 512), Path(sys.argv[1]))\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "print(-peak(4) + peak(64))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 20


def test_streets_can_be_cached_at_another_size(tmp_path: Path) -> None:
    data = streets.build(streets.Options(train=2))
    split = open_split(data, "streets", "train", (48, 80), tmp_path)
    assert split.original_label(1).shape == (96, 160)
    assert split.labels.shape == (2, 48, 80)
    assert split.class_counts.shape == (8,)
