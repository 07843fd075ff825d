"""What every dataset promises, and what each one does with good and bad files."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydantic import ValidationError

from segsweep.trainables.components import SPLITS, VOID, DataError, Dataset, Split
from segsweep.trainables.datasets import camvid, folder, streets
from segsweep.trainables.datasets._files import read_image
from segsweep.trainables.datasets._palette import palette

Array = npt.NDArray[np.uint8]


def save(path: Path, array: Array, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if mode == "P":
        image = Image.fromarray(array, mode="L")
        image.putpalette([channel for color in palette(256) for channel in color])
    image.save(path)


def noise(height: int = 6, width: int = 8) -> Array:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def half(value: int = 1, height: int = 6, width: int = 8) -> Array:
    """Class 0 on the left, `value` on the right."""
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 2 :] = value
    return mask


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten pairs a..j with classes.json; a to f are for training, g and h for validation, i and j for testing."""
    for name in "abcdefghij":
        save(tmp_path / f"images/{name}.png", noise())
        save(tmp_path / f"masks/{name}.png", half())
    (tmp_path / "classes.json").write_text(json.dumps({"names": ["ground", "thing"], "ignore_index": None}))
    (tmp_path / "splits").mkdir()
    for split, names in {"train": "abcdef", "val": "gh", "test": "ij"}.items():
        (tmp_path / f"splits/{split}.txt").write_text("\n".join(names) + "\n")
    return tmp_path


def options(root: Path, **more: object) -> folder.Options:
    return folder.Options.model_validate({"root": str(root), **more})


def ids(dataset: Dataset, split: Split) -> list[str]:
    return [sample.id for sample in dataset.splits[split]]


def read_all(dataset: Dataset) -> None:
    for samples in dataset.splits.values():
        for sample in samples:
            sample.read()


# --- streets -----------------------------------------------------------------------------------------------------


def test_streets_are_the_same_whenever_they_are_drawn() -> None:
    first, second = (streets.build(streets.Options()).splits["train"][3].read() for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.label, second.label)


def test_no_street_is_in_two_splits_or_twice_in_one() -> None:
    dataset = streets.build(streets.Options(train=6, val=6, test=6))
    labels = [sample.read().label.tobytes() for split in SPLITS for sample in dataset.splits[split]]
    assert len(set(labels)) == 18


def test_a_longer_split_begins_with_the_same_streets_and_another_seed_has_others() -> None:
    short, long, other = (
        streets.build(streets.Options(train=count, seed=seed)) for count, seed in ((2, 0), (5, 0), (2, 1))
    )
    assert np.array_equal(short.splits["train"][1].read().image, long.splits["train"][1].read().image)
    assert not np.array_equal(short.splits["train"][1].read().label, other.splits["train"][1].read().label)


def test_variants_draw_the_same_scenes_in_other_light() -> None:
    day, night, fog = (
        streets.draw(streets.Options.model_validate({"variant": variant}), "train", 0)
        for variant in ("day", "night", "fog")
    )
    assert np.array_equal(day.label, night.label)
    assert np.array_equal(day.label, fog.label)
    assert night.image.mean() < day.image.mean() / 2
    labelled = day.label != VOID  # the border is black in any light
    assert fog.image[labelled].std() < 0.6 * day.image[labelled].std()


def test_stamps_tell_variants_sizes_and_seeds_apart() -> None:
    changes: list[dict[str, object]] = [{}, {"variant": "fog"}, {"size": (64, 64)}, {"seed": 1}]
    stamps = [streets.build(streets.Options.model_validate(c)).splits["train"][0].stamp for c in changes]
    assert len(set(stamps)) == len(changes)


def test_streets_have_every_class_rare_ones_and_void() -> None:
    samples = streets.build(streets.Options()).splits["train"]
    counts = sum(np.bincount(sample.read().label.ravel(), minlength=256) for sample in samples)
    shares = dict(zip(streets.CLASSES, counts / counts.sum(), strict=False))
    assert counts[len(streets.CLASSES) : VOID].sum() == 0
    assert 0.03 < counts[VOID] / counts.sum() < 0.15
    assert shares["flat"] > 0.25
    assert all(0.003 < shares[rare] < 0.04 for rare in ("human", "object", "marking"))


def test_streets_have_poles_of_one_to_three_pixels() -> None:
    samples = streets.build(streets.Options(train=8)).splits["train"]
    object_class = list(streets.CLASSES).index("object")
    runs = [run for sample in samples for run in _runs(sample.read().label == object_class)]
    assert np.mean(np.array(runs) <= 3) > 0.5  # boards and lamps are wider


def _runs(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Lengths of the horizontal runs of True."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    return (np.nonzero(edges == -1)[1] - np.nonzero(edges == 1)[1]).tolist()


@pytest.mark.parametrize("size", [(32, 32), (97, 161), (200, 120), (256, 512)])
def test_streets_come_in_any_size(size: tuple[int, int]) -> None:
    pair = streets.draw(streets.Options(size=size), "val", 0)
    assert pair.image.shape == (*size, 3)
    assert pair.label.shape == size
    assert {0, VOID} < set(np.unique(pair.label).tolist())


def test_colour_and_place_tell_much_about_a_street_but_not_all() -> None:
    """A linear classifier of single pixels does far better than guessing, and leaves room for a network."""
    dataset = streets.build(streets.Options(train=24, val=8))
    train, val = (_pixels(dataset, split) for split in ("train", "val"))
    weights, *_ = np.linalg.lstsq(train[0], np.eye(8)[train[1]], rcond=None)
    predicted = (val[0] @ weights).argmax(1)
    confusion = np.bincount(val[1] * 8 + predicted, minlength=64).reshape(8, 8)
    iou = confusion.diagonal() / (confusion.sum(0) + confusion.sum(1) - confusion.diagonal())
    assert 0.2 < iou.mean() < 0.5


def _pixels(dataset: Dataset, split: Split) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Colour, place and their squares of every labelled pixel; and its class."""
    pairs = [sample.read() for sample in dataset.splits[split]]
    rows, columns = np.mgrid[-1:1:96j, -1:1:160j]
    features = [np.dstack([pair.image / 255, rows, columns]).reshape(-1, 5) for pair in pairs]
    labels = np.concatenate([pair.label.ravel() for pair in pairs]).astype(np.int64)
    x = np.concatenate(features)
    return np.hstack([x, x**2, np.ones((len(x), 1))])[labels != VOID], labels[labels != VOID]


def test_a_street_is_drawn_in_milliseconds() -> None:
    samples = streets.build(streets.Options(train=20)).splits["train"]
    samples[0].read()  # imports OpenCV
    start = time.process_time()
    for sample in samples:
        sample.read()
    assert (time.process_time() - start) / len(samples) < 0.025  # about 0.004 on an idle core


# --- all ---------------------------------------------------------------------------------------------------------


def test_listing_samples_imports_no_heavy_library() -> None:
    code = (
        "import sys; from segsweep.trainables.datasets import camvid, folder, streets; "
        "streets.build(streets.Options()); streets.describe(streets.Options()); camvid.describe(camvid.Options()); "
        "print([m for m in ('numpy', 'cv2', 'PIL', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_samples_can_be_sent_to_another_process(root: Path) -> None:
    for dataset in (streets.build(streets.Options(train=1)), folder.build(options(root))):
        sample = dataset.splits["train"][0]
        copy = pickle.loads(pickle.dumps(sample))
        assert np.array_equal(copy.read().label, sample.read().label)


@pytest.mark.parametrize("count", [2, 21, 150, 255])
def test_palettes_have_distinct_colours(count: int) -> None:
    assert len(set(palette(count))) == count
    assert palette(3) == ((0, 0, 0), (128, 0, 0), (0, 128, 0))  # as in PASCAL VOC


def test_relative_roots_are_below_the_variable_else_below_the_current_folder(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGSWEEP_DATA", str(root.parent))
    assert folder.root(options(Path(root.name))) == root
    monkeypatch.delenv("SEGSWEEP_DATA")
    monkeypatch.chdir(root.parent)
    assert folder.root(options(Path(root.name))) == root
    assert folder.root(options(root)) == root  # absolute: as it is
    assert streets.root(streets.Options()) is None


@pytest.mark.parametrize("component", [camvid, folder])
def test_a_missing_root_is_named_with_where_it_was_looked_for(
    component: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGSWEEP_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"{tmp_path}/nowhere: no such folder.*\$SEGSWEEP_DATA"):
        component.build(component.Options(root="nowhere"))  # type: ignore[attr-defined]


# --- camvid ------------------------------------------------------------------------------------------------------


@pytest.fixture
def camvid_root(tmp_path: Path) -> Path:
    for split in SPLITS:
        save(tmp_path / f"{split}/a_{split}.png", noise())
        save(tmp_path / f"{split}annot/a_{split}.png", half(11))
        (tmp_path / f"{split}.txt").write_text(f"{split}/a_{split}.png {split}annot/a_{split}.png\n")
    return tmp_path


def test_camvid_keeps_sky_as_class_0_and_makes_11_void(camvid_root: Path) -> None:
    dataset = camvid.build(camvid.Options(root=str(camvid_root)))
    assert dataset.card.classes[0] == "Sky"
    assert len(dataset.card.classes) == len(dataset.card.colors) == 11
    assert np.array_equal(dataset.splits["train"][0].read().label, half(VOID))


def test_camvid_takes_the_tutorials_own_lists(camvid_root: Path) -> None:
    line = "/SegNet/CamVid/train/a_train.png /SegNet/CamVid/trainannot/a_train.png\n"
    (camvid_root / "train.txt").write_text(line)
    assert camvid.build(camvid.Options(root=str(camvid_root))).splits["train"][0].id == "a_train"


def test_camvid_frames_are_grouped_by_their_film(camvid_root: Path) -> None:
    for number in (7260, 7290):
        save(camvid_root / f"train/0016E5_{number:05}.png", noise())
        save(camvid_root / f"trainannot/0016E5_{number:05}.png", half(11))
    names = ("0016E5_07260", "0016E5_07290", "a_train")
    (camvid_root / "train.txt").write_text("".join(f"train/{n}.png trainannot/{n}.png\n" for n in names))
    samples = camvid.build(camvid.Options(root=str(camvid_root))).splits["train"]
    assert [sample.group for sample in samples] == ["0016E5", "0016E5", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "train.txt: names no image"),
        ("train/a_train.png\n", "train.txt:1: 'train/a_train.png' is not 'image mask'"),
        ("\ntrain/b.png trainannot/a_train.png\n", "train.txt:2: .*train/b.png: No such file"),
        ("train/a_train.png trainannot/b.png\n", "train.txt:1: .*trainannot/b.png: No such file"),
    ],
)
def test_a_bad_camvid_list_is_refused_with_its_line(camvid_root: Path, text: str, message: str) -> None:
    (camvid_root / "train.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        camvid.build(camvid.Options(root=str(camvid_root)))


def test_a_missing_camvid_list_is_named(camvid_root: Path) -> None:
    (camvid_root / "val.txt").unlink()
    with pytest.raises(DataError, match=r"val\.txt: missing"):
        camvid.build(camvid.Options(root=str(camvid_root)))


# --- folder: what it can read ------------------------------------------------------------------------------------


def test_folder_follows_the_lists(root: Path) -> None:
    dataset = folder.build(options(root))
    assert {split: "".join(ids(dataset, split)) for split in SPLITS} == {"train": "abcdef", "val": "gh", "test": "ij"}
    assert dataset.card == folder.describe(options(root))
    assert dataset.card.classes == ("ground", "thing")
    assert np.array_equal(dataset.splits["train"][0].read().label, half())


def test_list_lines_may_have_endings_and_the_test_list_may_be_missing(root: Path) -> None:
    (root / "splits/val.txt").write_text("g.png\r\n\r\nh.jpg\r\n")
    (root / "splits/test.txt").unlink()
    dataset = folder.build(options(root))
    assert ids(dataset, "val") == ["g", "h"]
    assert set(dataset.splits) == {"train", "val"}


def test_fractions_split_all_pairs_by_the_seed(root: Path) -> None:
    def split(seed: int) -> list[list[str]]:
        share = {"train": 0.6, "val": 0.2, "test": 0.2, "seed": seed}
        dataset = folder.build(options(root, split=share))
        return [ids(dataset, name) for name in SPLITS]

    assert [len(part) for part in split(0)] == [6, 2, 2]
    assert sorted(id_ for part in split(0) for id_ in part) == list("abcdefghij")
    assert split(0) == split(0) != split(1)


def test_fractions_may_leave_out_the_test_split(root: Path) -> None:
    dataset = folder.build(options(root, split={"train": 0.9, "val": 0.1, "test": 0}))
    assert {name: len(samples) for name, samples in dataset.splits.items()} == {"train": 9, "val": 1}


def test_folders_suffixes_and_sub_folders_can_be_named(tmp_path: Path) -> None:
    for name in ("x/1", "x/2", "y/1"):
        save(tmp_path / f"raw/{name}.v1.png", noise())
        save(tmp_path / f"annotated/{name}.v1_labels.png", half())
        save(tmp_path / f"annotated/{name}.v1_preview.png", noise())
        (tmp_path / f"annotated/{name[0]}/._{name[2]}.v1_labels.png").write_bytes(b"left by macOS")
    more = {"images": "raw", "masks": "annotated", "mask_suffix": "_labels", "classes": ["ground", "thing"]}
    dataset = folder.build(options(tmp_path, **more, split={"train": 0.4, "val": 0.3, "test": 0.3}))
    assert sorted(ids(dataset, "train") + ids(dataset, "val") + ids(dataset, "test")) == ["x/1.v1", "x/2.v1", "y/1.v1"]


def test_classes_come_from_the_options_or_from_a_text_file(root: Path) -> None:
    (root / "names.txt").write_text("no\nyes\n\n")
    assert folder.describe(options(root, classes="names.txt")).classes == ("no", "yes")
    assert folder.describe(options(root / "nowhere", classes=["no", "yes"])).classes == ("no", "yes")


@pytest.mark.parametrize("mode", ["L", "P"])
def test_masks_are_read_as_stored_palette_or_not(root: Path, mode: str) -> None:
    save(root / "masks/a.png", half(), mode)
    assert np.array_equal(folder.build(options(root)).splits["train"][0].read().label, half())


def test_black_and_white_masks_are_read_through_values(root: Path) -> None:
    for path in (root / "masks").iterdir():
        save(path, half(255))
    label = folder.build(options(root, values={"0": 1, "255": 0})).splits["train"][0].read().label  # keys as in JSON
    assert np.array_equal(label, 1 - half())


def test_ignored_values_become_void_from_the_options_and_the_class_file(root: Path) -> None:
    mask = half()
    mask[0, 0], mask[1, 0] = 7, 200
    save(root / "masks/a.png", mask)
    (root / "classes.json").write_text(json.dumps({"names": ["ground", "thing"], "ignore_index": 200}))
    label = folder.build(options(root, ignore=[7])).splits["train"][0].read().label
    assert label[0, 0] == label[1, 0] == VOID
    assert (label == VOID).sum() == 2


def test_masks_of_16_bits_are_read(root: Path) -> None:
    Image.fromarray(half().astype(np.uint16) * 1000).save(root / "masks/a.png")
    label = folder.build(options(root, values={0: 0, 1000: 1})).splits["train"][0].read().label
    assert np.array_equal(label, half())


def test_images_are_turned_as_exif_says(root: Path) -> None:
    upright = noise(6, 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise when shown
    Image.fromarray(np.rot90(upright).copy()).save(root / "images/a.png", exif=exif)
    assert np.array_equal(folder.build(options(root)).splits["train"][0].read().image, upright)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_every_image_becomes_three_channels(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(noise()).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (6, 8, 3)
    assert image.dtype == np.uint8
    if mode in ("L", "LA", "1"):
        assert np.array_equal(image[..., 0], image[..., 2])


def test_images_of_16_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 48).reshape(6, 8).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png")[..., 1], grey >> 8)


def test_a_changed_file_or_another_meaning_changes_the_stamp(root: Path) -> None:
    before = folder.build(options(root)).splits["train"][0].stamp
    assert folder.build(options(root)).splits["train"][0].stamp == before
    assert folder.build(options(root, ignore=[9])).splits["train"][0].stamp != before
    save(root / "masks/a.png", half(0))
    assert folder.build(options(root)).splits["train"][0].stamp != before


# --- folder: what it refuses -------------------------------------------------------------------------------------


def rename(old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / old).rename(root / new)


def write(path: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_text(text)


def mask(array: Array) -> Callable[[Path], None]:
    return lambda root: save(root / "masks/a.png", array)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (rename("images", "pictures"), r"/images: no such folder"),
        (rename("masks/b.png", "masks/z.png"), r"train\.txt: 1 name \(b\) without a mask, such as .*/masks/b\.png"),
        (rename("images/b.png", "images/z.png"), r"train\.txt: 1 name \(b\) without an image in .*/images"),
        (write("splits/val.txt", ""), r"val\.txt: names no image"),
        (write("splits/val.txt", "g\nnew\n"), r"val\.txt: 1 name \(new\) without an image"),
        (write("splits/val.txt", "g\ng\n"), r"val\.txt: 'g' is listed twice"),
        (write("splits/val.txt", "g\na\n"), r"'a' is in train\.txt and in val\.txt"),
        (rename("splits/train.txt", "splits/other.txt"), r"train\.txt: missing.*split: \{train: 0\.7"),
        (rename("classes.json", "names.json"), r"classes\.json: No such file.*`classes: \[\.\.\.\]`"),
        (write("classes.json", "{"), r"classes\.json: the file: Invalid JSON"),
        (write("classes.json", '{"names": ["one"]}'), r"classes\.json: names: .*at least 2"),
        (write("classes.json", '{"names": ["one", "one"]}'), r"class 'one' is named twice"),
        (rename("images/b.png", "images/a.jpg"), r"a\.png: has the same name as a\.jpg"),
    ],
)
def test_folders_that_do_not_fit_are_refused_when_listed(
    root: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(root)
    with pytest.raises(DataError, match=message):
        folder.build(options(root))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (mask(half(2)), r"a\.png: value 2 in 24 pixels \(first at x=4, y=0\).*Allowed: 0 = ground, 1 = thing"),
        (
            mask(half(255)),
            r"a\.png: value 255 .*black-and-white mask needs `values: \{0: 0, 255: 1\}`.*`ignore: \[255\]`",
        ),
        (mask(noise()), r"a\.png: a mask needs one channel .*this one is RGB"),
        (mask(half(1, 7, 8)), r"masks/a\.png: the mask is 8x7 but its image a\.png is 8x6"),
        (write("images/a.png", "no image"), r"images/a\.png: cannot be read as an image"),
        (write("masks/a.png", ""), r"masks/a\.png: cannot be read as an image"),
    ],
)
def test_files_that_do_not_fit_are_refused_when_read(root: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=message):
        read_all(folder.build(options(root)))


def test_a_truncated_image_is_named(root: Path) -> None:
    save(root / "images/a.png", noise(200, 200))
    (root / "images/a.png").write_bytes((root / "images/a.png").read_bytes()[:2000])
    with pytest.raises(DataError, match=r"images/a\.png: cannot be read"):
        read_all(folder.build(options(root)))


def test_with_fractions_an_unpaired_file_is_refused_in_either_direction(root: Path) -> None:
    (root / "masks/a.png").rename(root / "masks/z.png")
    with pytest.raises(DataError, match=r"\(z\) without an image") as refused:
        folder.build(options(root, split={}))
    assert "(a) without a mask" in str(refused.value)  # both at once


def test_too_few_images_to_split_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "images/a.png", noise())
    save(tmp_path / "masks/a.png", half())
    with pytest.raises(DataError, match="1 images are too few"):
        folder.build(options(tmp_path, classes=["a", "b"], split={}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"split": {"train": 0.7, "val": 0.7, "test": 0}}, r"train \+ val \+ test is 1\.4, but must be 1"),
        ({"values": {255: 1}, "ignore": [255]}, "raw value 255 is in `values` and in `ignore`"),
        ({"classes": ["one"]}, "at least 2"),
        ({"values": {"white": 1}}, "valid integer"),
        ({"imagse": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_options_that_contradict_themselves_are_refused(tmp_path: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        options(tmp_path, **given)


def test_values_that_map_beyond_the_classes_are_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"`values` maps to class 2, but the 2 classes are 0\.\.1"):
        folder.describe(options(root, values={0: 0, 255: 2}))


# --- real data ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dsb2018_nuclei", "weizmann_horses", "drive_vessels", "isbi2012_em"])
def test_real_folders_are_read_as_their_source_says(data_root: Path, name: str) -> None:
    """Counts of every split, and the val split's share of every class, to the three digits that are stated."""
    if not (data_root / name).is_dir():
        pytest.skip(f"no {data_root / name}")
    dataset = folder.build(options(data_root / name))
    stated = _stated_shares(data_root / name)
    assert [len(dataset.splits[split]) for split in SPLITS] == stated.pop("images")
    counts = sum(np.bincount(s.read().label.ravel(), minlength=256) for s in dataset.splits["val"])
    for value, share in stated.items():
        assert 100 * counts[int(value)] / counts.sum() == pytest.approx(share[1], abs=0.0006)


def _stated_shares(folder: Path) -> dict[str, list[float]]:
    """From the table of SOURCE.md: value -> per cent in train, val, test; "images" -> their numbers."""
    text = (folder / "SOURCE.md").read_text()
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| ([\d.]+) [^|]+\| ([\d.]+) [^|]+\| ([\d.]+) ", text, re.MULTILINE)
    images = [int(count) for count in re.findall(r"images of (\d+)", text)]
    return {"images": images, **{value: [float(share) for share in shares] for value, *shares in rows}}


def test_black_and_white_vessels_need_values(data_root: Path) -> None:
    root = data_root / "drive_vessels"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    native = {"masks": "masks_native_0_255", "classes": ["background", "vessel"]}
    with pytest.raises(DataError, match=r"value 255 .*values: \{0: 0, 255: 1\}"):
        folder.build(options(root, **native)).splits["val"][0].read()
    read = folder.build(options(root, **native, values={0: 0, 255: 1})).splits["val"][0].read().label
    official = folder.build(options(root)).splits["val"][0].read().label
    assert np.array_equal(read[official != VOID], official[official != VOID])
