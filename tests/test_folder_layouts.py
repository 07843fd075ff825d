"""The folder dataset with layouts, masks and groups other than its own: templates, colours, arrays, shifted values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydantic import ValidationError

from segsweep.trainables.components import VOID, DataError, Dataset
from segsweep.trainables.datasets import folder

ROAD, SKY, NONE = (128, 64, 128), (70, 130, 180), (0, 0, 0)
HALVES = np.array([[0, 0, 1, 1]] * 2, np.uint8)


def save(path: Path, array: npt.NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)


def pair(image: Path, mask: Path, values: npt.NDArray[np.generic] = HALVES) -> None:
    save(image, np.full((2, 4, 3), 90, np.uint8))
    save(mask, values)


def build(root: Path, **more: object) -> Dataset:
    given = {"root": str(root), "classes": ["ground", "thing"], **more}
    if "colors" in more:
        del given["classes"]
    return folder.build(folder.Options.model_validate(given))


def ids(dataset: Dataset) -> dict[str, list[str]]:
    return {split: [sample.id for sample in samples] for split, samples in dataset.splits.items()}


def first_label(dataset: Dataset) -> list[list[int]]:
    return dataset.splits["train"][0].read().label.tolist()


def flat(root: Path, mask_name: str = "a.png", values: npt.NDArray[np.generic] = HALVES) -> None:
    """Images a and b; a for training, with the mask that is given."""
    pair(root / "images/a.png", root / "masks" / mask_name, values)
    pair(root / "images/b.png", root / f"masks/b{Path(mask_name).suffix}", values)
    (root / "splits").mkdir()
    (root / "splits/train.txt").write_text("a")
    (root / "splits/val.txt").write_text("b")


# --- templates ---------------------------------------------------------------------------------------------------


def test_a_template_finds_splits_in_folders_and_names_ids_by_them(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("train", "sub/b"), ("val", "a"), ("test", "c")):
        pair(tmp_path / f"{split}/images/{name}.jpg", tmp_path / f"{split}/masks/{name}_mask.png")
    save(tmp_path / "train/masks/a_preview.png", HALVES)
    dataset = build(tmp_path, images="{split}/images/{id}.jpg", masks="{split}/masks/{id}_mask.png")
    assert ids(dataset) == {"train": ["train/a", "train/sub/b"], "val": ["val/a"], "test": ["test/c"]}
    assert first_label(dataset) == HALVES.tolist()


def test_folders_with_a_split_in_their_path_may_have_any_ending_and_other_names(tmp_path: Path) -> None:
    pair(tmp_path / "images/training/a.JPG", tmp_path / "masks/training/a_gt.npy")
    pair(tmp_path / "images/validation/b.png", tmp_path / "masks/validation/b_gt.tif")
    names = {"train": "training", "val": "validation"}
    dataset = build(tmp_path, images="images/{split}", masks="masks/{split}", mask_suffix="_gt", split_names=names)
    assert ids(dataset) == {"train": ["train/a"], "val": ["val/b"]}


def test_an_id_may_be_a_folder_and_stand_twice_in_a_template(tmp_path: Path) -> None:
    for name in "ab":
        pair(tmp_path / f"{name}/images/{name}.png", tmp_path / f"{name}/mask.png")
    share = {"train": 0.5, "val": 0.5, "test": 0}
    dataset = build(tmp_path, images="{id}/images/{id}.png", masks="{id}/mask.png", split=share)
    assert sorted(ids(dataset)["train"] + ids(dataset)["val"]) == ["a", "b"]


def test_characters_of_regular_expressions_in_a_template_mean_themselves(tmp_path: Path) -> None:
    for name in "ab":
        pair(tmp_path / f"i/{name}(1)+.png", tmp_path / f"m/{name}.x.png")
        save(tmp_path / f"m/{name}yx.png", HALVES)  # the dot is a dot
    share = {"train": 0.5, "val": 0.5, "test": 0}
    dataset = build(tmp_path, images="i/{id}(1)+.png", masks="m/{id}.x.png", split=share)
    assert sorted(id_ for names in ids(dataset).values() for id_ in names) == ["a", "b"]


def test_a_split_folder_with_an_unpaired_file_is_refused(tmp_path: Path) -> None:
    for split in ("train", "val"):
        pair(tmp_path / f"{split}/i/a.jpg", tmp_path / f"{split}/m/a.png")
    save(tmp_path / "val/m/b.png", HALVES)
    with pytest.raises(DataError, match=r"val/i: 1 name \(b\) without an image in .*val/i"):
        build(tmp_path, images="{split}/i/{id}.jpg", masks="{split}/m/{id}.png")


def test_a_missing_validation_folder_is_named(tmp_path: Path) -> None:
    pair(tmp_path / "train/i/a.jpg", tmp_path / "train/m/a.png")
    with pytest.raises(DataError, match="val/i: no such folder"):
        build(tmp_path, images="{split}/i", masks="{split}/m")


def test_a_template_that_fits_nothing_is_shown(tmp_path: Path) -> None:
    pair(tmp_path / "images/a.png", tmp_path / "masks/a.png")
    with pytest.raises(DataError, match=r"masks: holds no file \*_mask\.png"):
        build(tmp_path, masks="masks/{id}_mask.png", split={})


# --- masks -------------------------------------------------------------------------------------------------------


def test_colour_masks_are_read_through_their_table(tmp_path: Path) -> None:
    flat(tmp_path, values=np.array([[SKY, ROAD, NONE, SKY]] * 2, np.uint8))
    dataset = build(tmp_path, colors={"road": ROAD, "sky": SKY}, ignore_colors=[NONE])
    assert first_label(dataset) == [[1, 0, VOID, 1]] * 2
    assert dataset.card.classes == ("road", "sky")
    assert dataset.card.colors == (ROAD, SKY)


def test_colour_masks_may_be_palette_images_with_those_colours(tmp_path: Path) -> None:
    flat(tmp_path)
    image = Image.fromarray(HALVES)
    image.putpalette([*SKY, *ROAD])
    image.save(tmp_path / "masks/a.png")
    assert first_label(build(tmp_path, colors={"road": ROAD, "sky": SKY})) == (1 - HALVES).tolist()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[ROAD, (129, 64, 128), SKY, SKY]], np.uint8), r"colour \[129, 64, 128\] in 1 pixels .*at x=1, y=0"),
        (HALVES, "`colors` needs colour masks"),
    ],
)
def test_masks_that_are_not_in_those_colours_are_refused(
    tmp_path: Path, values: npt.NDArray[np.uint8], message: str
) -> None:
    flat(tmp_path, values=values)
    with pytest.raises(DataError, match=message):
        first_label(build(tmp_path, colors={"road": ROAD, "sky": SKY}))


def test_reduce_zero_label_makes_zero_void_and_takes_one_from_every_other_value(tmp_path: Path) -> None:
    flat(tmp_path, values=np.array([[0, 1, 2, 255]] * 2, np.uint8))
    reduced = build(tmp_path, reduce_zero_label=True, ignore=[255])
    assert first_label(reduced) == [[VOID, 0, 1, VOID]] * 2
    with pytest.raises(DataError, match="value 255 in 2 pixels"):
        first_label(build(tmp_path, reduce_zero_label=True))


@pytest.mark.parametrize("kind", ["uint8", "int32", "int64", "uint16", "bool"])
def test_arrays_are_masks_too(tmp_path: Path, kind: str) -> None:
    flat(tmp_path, "a.npy", HALVES.astype(kind))
    assert first_label(build(tmp_path)) == HALVES.tolist()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4, 1), np.uint8), r"a\.npy: a mask is an array \(H, W\).* this one is \(2, 4, 1\)"),
        (np.zeros((2, 4), np.float32), r"a\.npy: .*whole numbers, this one is \(2, 4\) float32"),
        (np.full((2, 4), -1, np.int16), r"a\.npy: value -1 in 8 pixels"),
        (np.full((2, 4), 70_000, np.int32), r"a\.npy: value 70000 in 8 pixels"),
        (np.array([None]), r"a\.npy: cannot be read as an array"),
    ],
)
def test_arrays_that_are_no_masks_are_refused(tmp_path: Path, array: npt.NDArray[np.generic], message: str) -> None:
    flat(tmp_path, "a.npy", array)
    with pytest.raises(DataError, match=message):
        first_label(build(tmp_path, ignore=[3]))  # 0 to 3 have a meaning, -1 lies before them


def test_a_value_before_the_first_that_means_something_is_refused(tmp_path: Path) -> None:
    flat(tmp_path, "a.npy", np.array([[-1, 5, 5, 6]] * 2, np.int16))
    with pytest.raises(DataError, match="value -1 in 2 pixels"):
        first_label(build(tmp_path, values={5: 0, 6: 1}))


# --- classes from Hugging Face's label file ----------------------------------------------------------------------


def test_an_id2label_file_names_the_classes_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    flat(tmp_path)
    names = {str(number): f"c{number}" for number in reversed(range(12))}  # as text, "10" comes before "2"
    (tmp_path / "id2label.json").write_text(json.dumps(names))
    assert build(tmp_path, classes="id2label.json").card.classes == tuple(f"c{number}" for number in range(12))
    (tmp_path / "id2label.json").write_text(json.dumps({"0": "a", "2": "b"}))
    with pytest.raises(DataError, match=r"numbered 0\.\.1 without gaps"):
        build(tmp_path, classes="id2label.json")


# --- groups ------------------------------------------------------------------------------------------------------


def grouped(root: Path, **group: object) -> list[str]:
    dataset = build(root, group=group)
    return [sample.group for samples in dataset.splits.values() for sample in samples]


def test_groups_come_from_a_pattern_or_from_a_column(tmp_path: Path) -> None:
    flat(tmp_path)
    (tmp_path / "meta.csv").write_text("name,patient\na,P1\nb,P2\n")
    assert grouped(tmp_path, pattern="^(.)") == ["a", "b"]
    assert grouped(tmp_path, file="meta.csv", column="patient", key="name") == ["P1", "P2"]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"pattern": "^(z)"}, r"'a' does not match `group: \{pattern: \^\(z\)\}`"),
        ({"file": "meta.csv", "column": "city"}, r"meta\.csv: has no column 'city'; its columns are id, patient"),
        ({"file": "meta.csv", "column": "patient"}, r"meta\.csv: no line with a patient for 'b'"),
        ({"file": "none.csv", "column": "patient"}, r"none\.csv: No such file"),
    ],
)
def test_samples_without_a_group_are_refused(tmp_path: Path, group: dict[str, object], message: str) -> None:
    flat(tmp_path)
    (tmp_path / "meta.csv").write_text("id,patient\na,P1\n")
    with pytest.raises(DataError, match=message):
        grouped(tmp_path, **group)


# --- options that contradict each other --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": "{split}/i"}, r"both need \{split\}"),
        ({"images": "{split}/i", "masks": "{split}/m", "split": {}}, "cannot be given"),
        ({"masks": "m/{id}.png", "mask_suffix": "_m"}, "write it into the template"),
        ({"split_names": {"train": "training"}}, r"no \{split\} is in"),
        ({"colors": {"a": ROAD, "b": ROAD}}, r"colour \[128, 64, 128\] is there twice"),
        ({"colors": {"a": ROAD, "b": SKY}, "ignore_colors": [SKY]}, "is there twice"),
        ({"colors": {"a": ROAD, "b": SKY}, "ignore": [3]}, "so `ignore` cannot be given"),
        ({"colors": {"a": ROAD, "b": (0, 0, 256)}}, "less than or equal to 255"),
        ({"ignore_colors": [ROAD]}, "is for colour masks"),
        ({"reduce_zero_label": True, "values": {1: 0}}, "give one of them"),
        ({"group": {"pattern": "abc"}}, "one pair of parentheses"),
        ({"group": {"pattern": "(a"}}, "must be a regular expression"),
        ({"group": {"file": "a.csv"}}, "either `pattern` or `file` and `column`"),
        ({"group": {}}, "either `pattern` or `file` and `column`"),
    ],
)
def test_contradictions_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        folder.Options.model_validate({"root": "x", **given})


# --- real data ---------------------------------------------------------------------------------------------------


def test_real_nuclei_are_grouped_by_their_table(data_root: Path) -> None:
    root = data_root / "dsb2018_nuclei"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    options = folder.Options.model_validate({"root": str(root), "group": {"file": "meta.csv", "column": "w"}})
    samples = [sample for samples in folder.build(options).splits.values() for sample in samples]
    assert {sample.group for sample in samples} == {"256", "320", "360"}
    wide = next(sample for sample in samples if sample.group == "320")
    assert wide.read().image.shape[1] == 320
