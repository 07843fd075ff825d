"""Hugging Face datasets that the tests write themselves: saved ones, plain files, and what goes wrong."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydantic import ValidationError

from segsweep.trainables.components import VOID, DataError, Dataset
from segsweep.trainables.data.splits import open_dataset
from segsweep.trainables.datasets import huggingface

hf = pytest.importorskip("datasets")  # an optional package

NAMES = ["wall", "floor", "sky"]
MASK = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def photo(height: int = 2, width: int = 3) -> Image.Image:
    return Image.fromarray(np.full((height, width, 3), (200, 100, 50), np.uint8))


def rows(count: int, mask: Callable[[int], Any], feature: Any = None) -> Any:
    features = hf.Features({"image": hf.Image(), "label": feature or hf.Image(), "city": hf.Value("string")})
    columns = {
        "image": [photo() for _ in range(count)],
        "label": [mask(index) for index in range(count)],
        "city": [f"city{index % 2}" for index in range(count)],
    }
    return hf.Dataset.from_dict(columns, features=features)


def grey(values: npt.NDArray[np.generic] = MASK) -> Callable[[int], Image.Image]:
    return lambda index: Image.fromarray(values)


def save(folder: Path, mask: Callable[[int], Any] | None = None, feature: Any = None, **counts: int) -> Path:
    """train, validation and test of 4, 2 and 1 rows, or as `counts` say."""
    sizes = counts or {"train": 4, "validation": 2, "test": 1}
    tables = {name: rows(count, mask or grey(), feature) for name, count in sizes.items()}
    hf.DatasetDict(tables).save_to_disk(str(folder))
    return folder


def build(root: Path, **more: object) -> Dataset:
    return huggingface.build(huggingface.Options.model_validate({"root": str(root), "classes": NAMES, **more}))


def first_label(dataset: Dataset) -> list[list[int]]:
    return dataset.splits["train"][0].read().label.tolist()


@pytest.fixture(autouse=True)
def _nothing_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, no cache in the user's folder, no bars."""
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(hf.config, "HF_HUB_OFFLINE", True)
    hf.disable_progress_bars()


# --- what is read ------------------------------------------------------------------------------------------------


def test_a_saved_dataset_is_read_row_by_row(tmp_path: Path) -> None:
    dataset = build(save(tmp_path / "d"))
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 4, "val": 2, "test": 1}
    pair = dataset.splits["train"][3].read()
    assert pair.label.tolist() == MASK.tolist()
    assert pair.image.tolist() == np.asarray(photo()).tolist()
    assert dataset.splits["val"][1].id == "val/000001"


def test_palette_masks_are_read_as_indices(tmp_path: Path) -> None:
    palette_image = Image.fromarray(MASK)
    palette_image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert first_label(build(save(tmp_path / "d", lambda index: palette_image))) == MASK.tolist()


def test_a_channel_of_rgb_masks_holds_the_classes(tmp_path: Path) -> None:
    instances = np.dstack([MASK, MASK + 7, MASK * 0])
    root = save(tmp_path / "d", grey(instances))
    assert first_label(build(root, label_channel=0)) == MASK.tolist()
    assert first_label(build(root, label_channel=1, values={7: 0, 8: 1, 9: 2})) == MASK.tolist()
    with pytest.raises(DataError, match=r"train\[0\]: the mask is RGB; `label_channel: 0`"):
        first_label(build(root))


def test_masks_of_16_bits_and_nested_lists_are_read(tmp_path: Path) -> None:
    wide = build(save(tmp_path / "wide", grey(MASK.astype(np.uint16) * 500)), values={0: 0, 500: 1, 1000: 2})
    assert first_label(wide) == MASK.tolist()
    nested = save(tmp_path / "nested", lambda index: MASK.tolist(), hf.List(hf.List(hf.Value("int32"))))
    assert first_label(build(nested)) == MASK.tolist()


def test_zero_may_be_void_and_other_values_may_be_ignored(tmp_path: Path) -> None:
    root = save(tmp_path / "d", grey(np.array([[0, 1, 2], [3, 200, 0]], np.uint8)))
    assert first_label(build(root, reduce_zero_label=True, ignore=[200])) == [[VOID, 0, 1], [2, VOID, VOID]]


def test_a_folder_of_parquet_files_is_read_as_well(tmp_path: Path) -> None:
    for name, count in (("train", 3), ("validation", 1)):
        (tmp_path / "d").mkdir(exist_ok=True)
        rows(count, grey()).to_parquet(str(tmp_path / f"d/{name}.parquet"))
    dataset = build(tmp_path / "d")
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 3, "val": 1}
    assert first_label(dataset) == MASK.tolist()


def test_splits_may_have_other_names_and_a_single_table_is_train(tmp_path: Path) -> None:
    named = build(save(tmp_path / "a", fold1=2, fold2=1), split_names={"train": "fold1", "val": "fold2"})
    assert {split: len(samples) for split, samples in named.splits.items()} == {"train": 2, "val": 1}
    rows(5, grey()).save_to_disk(str(tmp_path / "b"))
    assert {split: len(samples) for split, samples in build(tmp_path / "b").splits.items()} == {"train": 5}


def test_a_column_says_which_rows_stay_together_in_folds(tmp_path: Path) -> None:
    root = save(tmp_path / "d")
    folds = {"count": 2, "index": 0, "by": "group"}
    dataset = open_dataset("huggingface", {"root": str(root), "classes": list(NAMES), "group": "city", "folds": folds})
    groups = [{sample.group for sample in dataset.splits[split]} for split in ("train", "val")]  # type: ignore[index]
    assert sorted(groups, key=str) == [{"city0"}, {"city1"}]


def test_samples_are_small_to_send_to_another_process(tmp_path: Path) -> None:
    sample = build(save(tmp_path / "d")).splits["train"][0]
    sent = pickle.dumps(sample)
    assert len(sent) < 2000
    assert pickle.loads(sent).read().label.tolist() == MASK.tolist()


def test_stamps_tell_rows_masks_and_meanings_apart_and_last(tmp_path: Path) -> None:
    root = save(tmp_path / "d")
    first = [sample.stamp for sample in build(root).splits["train"]]
    assert first == [sample.stamp for sample in build(root).splits["train"]]
    assert len(set(first)) == 4
    assert first[0] != build(root, ignore=[9]).splits["train"][0].stamp
    other = save(tmp_path / "other", grey(2 - MASK))
    assert first[0] != build(other).splits["train"][0].stamp


# --- names of classes --------------------------------------------------------------------------------------------


def test_names_come_from_id2label_whose_keys_are_text(tmp_path: Path) -> None:
    root = save(tmp_path / "d")
    (root / "id2label.json").write_text(json.dumps({"1": "floor", "0": "wall", "2": "sky"}))
    assert huggingface.describe(huggingface.Options(root=str(root))).classes == ("wall", "floor", "sky")
    (root / "names.txt").write_text("a\nb\nc\n")
    assert huggingface.describe(huggingface.Options(root=str(root), classes="names.txt")).classes == ("a", "b", "c")


def test_names_come_from_the_saved_features(tmp_path: Path) -> None:
    feature = hf.List(hf.List(hf.ClassLabel(names=NAMES)))
    root = save(tmp_path / "d", lambda index: MASK.tolist(), feature)
    dataset = huggingface.build(huggingface.Options(root=str(root)))
    assert dataset.card.classes == tuple(NAMES)
    assert first_label(dataset) == MASK.tolist()


def test_without_names_the_message_says_where_to_put_them(tmp_path: Path) -> None:
    for options in (huggingface.Options(root=str(save(tmp_path / "d"))), huggingface.Options(repo="owner/name")):
        with pytest.raises(DataError, match=r"no names of classes\. Give `classes: \[\.\.\.\]`.*id2label\.json"):
            huggingface.describe(options)


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"image": "photo"}, "train has no column 'photo'; its columns are image, label, city"),
        ({"label": "mask"}, "train has no column 'mask'"),
        ({"group": "patient"}, "train has no column 'patient'"),
        ({"split_names": {"val": "dev"}}, "has no split 'dev'; it has train, validation, test"),
    ],
)
def test_columns_and_splits_that_are_not_there_are_named(tmp_path: Path, more: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        build(save(tmp_path / "d"), **more)


@pytest.mark.parametrize(
    ("mask", "more", "message"),
    [
        (grey(MASK + 1), {}, r"train\[0\]: value 3 in 2 pixels"),
        (grey(np.zeros((5, 5), np.uint8)), {}, r"train\[0\]: the mask is \(5, 5\) but its image is \(2, 3\)"),
        (lambda index: None, {}, r"train\[0\]: has no label"),
        (grey(), {"label_channel": 0}, "`label_channel` is for RGB masks"),
        (grey(), {"image": "city"}, "city is no column of images but of str"),
    ],
)
def test_rows_that_do_not_fit_are_named(
    tmp_path: Path, mask: Callable[[int], Any], more: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        first_label(build(save(tmp_path / "d", mask), **more))


def test_a_folder_that_holds_no_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(DataError, match=r"/d: cannot be loaded .*what save_to_disk wrote"):
        build(tmp_path / "d")


def test_without_network_the_message_says_how_to_bring_the_data_here() -> None:
    options = huggingface.Options(repo="owner/never-there", revision="v1", classes=tuple(NAMES))
    with pytest.raises(DataError, match=r"hub dataset owner/never-there: cannot be .*save_to_disk\('FOLDER'\).*`root:"):
        huggingface.build(options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "either `root`, a folder, or `repo`"),
        ({"root": "a", "repo": "b/c"}, "either `root`, a folder, or `repo`"),
        ({"root": "a", "revision": "v1"}, "`revision` and `config` go with `repo`"),
        ({"root": "a", "label_channel": 3}, "less than or equal to 2"),
        ({"root": "a", "reduce_zero_label": True, "values": {1: 0}}, "give one of them"),
    ],
)
def test_contradictions_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        huggingface.Options.model_validate(given)
