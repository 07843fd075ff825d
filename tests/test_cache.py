"""The cache of decoded images: right, shared, whole or not there."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest

from segsweep.trainables.cache.cached_split import CachedSplit, open_split
from segsweep.trainables.components import VOID, DataError, Dataset, DatasetCard, Pair, Sample
from segsweep.trainables.data.resize import resize_image, resize_label
from segsweep.trainables.datasets import camvid, streets
from segsweep.trainables.places import cache_folder, variables

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


def _refuse() -> Pair:
    raise AssertionError("read again")


UNREADABLE = dataset(_refuse, _refuse, _refuse)  # the same to the cache as THREE


def cached(folder: Path, data: Dataset = THREE, size: tuple[int, int] = SIZE) -> CachedSplit:
    return open_split(data, "drawn", "train", size, folder)


def built(folder: Path) -> list[str]:
    """What lies in the cache folder, apart from lock files."""
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock") if folder.exists() else []


def pixels(split: CachedSplit) -> npt.NDArray[np.uint8]:
    """(N, h, w, 4): all images, and the labels as a fourth channel."""
    return np.stack([np.dstack(split.pair(i)) for i in range(len(split))])


def test_images_and_labels_have_the_working_size_and_scoring_labels_their_own(tmp_path: Path) -> None:
    split = cached(tmp_path)
    assert split.ids == ("s0", "s1", "s2")
    assert len(split) == 3
    for index, sample in enumerate(THREE.splits["train"]):
        assert split.pair(index).image.shape == (*SIZE, 3)
        assert split.pair(index).label.shape == SIZE
        assert np.array_equal(split.original_label(index), sample.read().label)


def test_arrays_are_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    for array in (*cached(tmp_path).pair(1), cached(tmp_path).original_label(1)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_pixels_are_counted_at_original_size_without_void(tmp_path: Path) -> None:
    left = 9 * 10 + 63 * 48 + 32 * 3
    right = 9 * 10 + 63 * 48 + 32 * 4
    assert cached(tmp_path).class_counts.tolist() == [left, right]


def test_a_second_opening_reads_no_sample(tmp_path: Path) -> None:
    first = cached(tmp_path)

    again = cached(tmp_path, UNREADABLE)
    assert np.array_equal(pixels(first), pixels(again))
    assert first.fingerprint == again.fingerprint


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


@pytest.mark.parametrize("name", ["00001", "cache.jsonl"])
@pytest.mark.parametrize(
    "spoil",
    [_flip_a_byte, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])],
    ids=["byte", "missing", "short"],
)
def test_a_damaged_cache_is_repaired(tmp_path: Path, name: str, spoil: Callable[[Path], object]) -> None:
    many = dataset(*[Drawn(8 + i, 20) for i in range(40)])
    before = cached(tmp_path, many)
    images, files = pixels(before), list(before.folder.iterdir())
    spoil(before.folder / name)
    again = cached(tmp_path, many)
    assert np.array_equal(pixels(again), images)
    assert np.array_equal(again.original_label(17), Drawn(25, 20)().label)
    assert again.fingerprint == before.fingerprint
    assert built(tmp_path) == [before.folder.name]
    assert sorted(before.folder.iterdir()) == sorted(files)


def test_of_a_damaged_cache_only_what_is_damaged_is_decoded_again(tmp_path: Path) -> None:
    whole = cached(tmp_path, dataset(*[Drawn(8, 20)] * 40))
    _flip_a_byte(whole.folder / "00001")
    progress: list[tuple[int, int]] = []
    reads = [Drawn(8, 20) if 16 <= i < 32 else _refuse for i in range(40)]  # 00001 holds these sixteen
    again = open_split(dataset(*reads), "drawn", "train", SIZE, tmp_path, progress=lambda *it: progress.append(it))
    assert again.fingerprint == whole.fingerprint
    assert progress == [(24, 40), (40, 40)]


def test_a_copied_cache_is_used_after_its_bytes_were_checked(tmp_path: Path) -> None:
    split = cached(tmp_path)
    os.utime(split.folder / "00000", (1, 1))  # as copying without times does
    assert np.array_equal(pixels(cached(tmp_path, UNREADABLE)), pixels(split))
    assert (split.folder / "00000").stat().st_mtime > 1  # so that the next opening need not read all of it again


def test_a_cache_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DataError, match=r"file/cache: the image cache cannot be written .* lacks drawn-train.*SEGSWEEP_CACHE"
    ):
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


def test_a_disk_that_is_too_small_is_found_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gib = 2**30
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=gib))
    # 640 labels of 1000 x 1200 are 0.715 GiB, and at 512 x 640 images and labels together 0.781 GiB
    with pytest.raises(
        DataError, match=r"takes about 1\.5 GiB; 1 GiB of the disk .*SEGSWEEP_CACHE_GIB.*SEGSWEEP_CACHE "
    ):
        cached(tmp_path, dataset(*[Drawn(1000, 1200)] * 640), (512, 640))
    assert built(tmp_path) == []


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
    assert np.array_equal(pixels(pickle.loads(sent)), pixels(split))


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
        "import resource, sys; from pathlib import Path\n"
        "from segsweep.trainables.cache.cached_split import open_split\n"
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
    assert split.pair(1).label.shape == (48, 80)
    assert split.class_counts.shape == (8,)
