"""Datasets with official files: what their masks' values mean, which images make which split, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from torchvision.models import _meta

from segsweep.trainables.components import SPLITS, VOID, DataError, Dataset
from segsweep.trainables.datasets import ade20k, camvid, coco_stuff, oxford_pet, pascal_voc

Array = npt.NDArray[np.uint8]
COCO_GAPS = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)  # the values below 182 that no mask holds


def picture(path: Path, height: int = 2, width: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (10, 200, 30)).save(path)


def mask(path: Path, values: Sequence[Sequence[object]], palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.array(values, np.uint8))
    if palette:  # shuffled, so that whoever reads colours instead of indices is found out
        image.putpalette([(37 * i + 11) % 256 for i in range(768)])
    image.save(path)


def labels(dataset: Dataset, split: str) -> dict[str, list[list[int]]]:
    return {sample.id: sample.read().label.tolist() for sample in dataset.splits[split]}  # type: ignore[index]


def measured_shares(dataset: Dataset, split: str) -> npt.NDArray[np.float64]:
    """Per cent of all pixels by class index, void at 255."""
    samples = dataset.splits[split]  # type: ignore[index]
    counts = sum(np.bincount(sample.read().label.ravel(), minlength=256) for sample in samples)
    return np.asarray(100 * counts / np.sum(counts))


def stated_shares(folder: Path, column: int) -> dict[int, float]:
    """Per cent of all pixels by raw value, from a column of the table in SOURCE.md."""
    rows = re.findall(r"^\| (\d+) \|[^|]*\|(.+)\|$", (folder / "SOURCE.md").read_text(), re.MULTILINE)
    return {int(value): float(cells.split("|")[column].split()[0]) for value, cells in rows}


def require(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


# --- Oxford-IIIT Pet ---------------------------------------------------------------------------------------------


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Pets p00..p20, each of breed 37 but the first, which is of breed 1; p20 is for testing. Strays lie beside."""
    names = [f"p{i:02}" for i in range(21)]
    for name in names:
        picture(tmp_path / f"images/{name}.jpg")
        mask(tmp_path / f"annotations/trimaps/{name}.png", [[1, 2, 3], [3, 1, 2]])
    lines = [f"{name} {1 if name == 'p00' else 37} 1 1" for name in names]
    (tmp_path / "annotations/trainval.txt").write_text("\n".join(lines[:20]) + "\n")
    (tmp_path / "annotations/test.txt").write_text(lines[20])
    (tmp_path / "annotations/trimaps/._p00.png").write_bytes(b"left by macOS")
    (tmp_path / "images/p00.mat").write_bytes(b"left by MATLAB")
    return tmp_path


@pytest.mark.parametrize(
    ("classes", "count", "label"),
    [
        ("border_as_pet", 2, [[1, 0, 1], [1, 1, 0]]),
        ("border_ignored", 2, [[1, 0, VOID], [VOID, 1, 0]]),
        ("trimap", 3, [[0, 1, 2], [2, 0, 1]]),
        ("breeds", 38, [[1, 0, 1], [1, 1, 0]]),
    ],
)
def test_pet_trimaps_are_read_as_asked(pets: Path, classes: str, count: int, label: list[list[int]]) -> None:
    dataset = oxford_pet.build(oxford_pet.Options.model_validate({"root": str(pets), "classes": classes}))
    assert len(dataset.card.classes) == len(dataset.card.colors) == count
    assert labels(dataset, "val")["p00"] == label


def test_pet_breeds_are_numbered_as_the_lists_number_them(pets: Path) -> None:
    dataset = oxford_pet.build(oxford_pet.Options(root=str(pets), classes="breeds"))
    assert labels(dataset, "test")["p20"] == [[37, 0, 37], [37, 37, 0]]
    assert dataset.card.classes[1] == "Abyssinian"
    assert dataset.card.classes[37] == "Yorkshire Terrier"
    assert sorted(oxford_pet.BREEDS, key=str.casefold) == list(oxford_pet.BREEDS)  # the archive's own order
    assert len(set(oxford_pet.BREEDS)) == 37


def test_every_tenth_pet_of_trainval_is_for_validation(pets: Path) -> None:
    dataset = oxford_pet.build(oxford_pet.Options(root=str(pets)))
    assert [sample.id for sample in dataset.splits["val"]] == ["p00", "p10"]
    assert len(dataset.splits["train"]) == 18
    assert [sample.id for sample in dataset.splits["test"]] == ["p20"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("p00", r"trainval\.txt:1: 'p00' is not 'NAME CLASS SPECIES BREED'"),
        ("p00 38 1 1", r"trainval\.txt:1: .* with a class of 1\.\.37"),
        ("p00 1 1 1\n\np99 1 1 1", r"trainval\.txt:3: .*images/p99\.jpg: No such file"),
        ("p00 1 1 1\np00 1 1 1", r"trainval\.txt:2: 'p00' is listed twice"),
        ("# nothing", r"trainval\.txt: names no image"),
    ],
)
def test_a_bad_pet_list_is_refused_with_its_line(pets: Path, line: str, message: str) -> None:
    (pets / "annotations/trainval.txt").write_text(line)
    with pytest.raises(DataError, match=message):
        oxford_pet.build(oxford_pet.Options(root=str(pets)))


def test_a_trimap_with_another_value_is_refused_without_advice_that_no_option_follows(pets: Path) -> None:
    mask(pets / "annotations/trimaps/p00.png", [[1, 2, 0], [3, 1, 2]])
    with pytest.raises(DataError, match=r"p00\.png: value 0 in 1 pixels .*Remedy: give `root`"):
        oxford_pet.build(oxford_pet.Options(root=str(pets))).splits["val"][0].read()


def test_the_real_layout_of_pets_loads(data_root: Path) -> None:
    folder = require(data_root / "pet_layout_from_horses")
    dataset = oxford_pet.build(oxford_pet.Options(root=str(folder), classes="trimap"))
    assert [len(dataset.splits[split]) for split in SPLITS] == [54, 6, 30]
    stated = list(stated_shares(folder, 1).values())
    assert measured_shares(dataset, "test")[:3] == pytest.approx(stated, abs=0.001)


# --- ADE20K ------------------------------------------------------------------------------------------------------


def test_ade20k_has_zero_as_void_and_every_other_value_less_one(tmp_path: Path) -> None:
    for split in ("training", "validation"):
        picture(tmp_path / f"images/{split}/a.jpg")
        mask(tmp_path / f"annotations/{split}/a.png", [[0, 1, 2], [149, 150, 150]])
    dataset = ade20k.build(ade20k.Options(root=str(tmp_path)))
    assert labels(dataset, "train") == {"a": [[VOID, 0, 1], [148, 149, 149]]}
    assert set(dataset.splits) == {"train", "val"}
    mask(tmp_path / "annotations/training/a.png", [[0, 1, 2], [149, 151, 150]])
    with pytest.raises(DataError, match="value 151 in 1 pixels"):
        dataset.splits["train"][0].read()


def test_the_real_sample_of_ade20k_has_the_classes_and_shares_of_its_source(data_root: Path) -> None:
    folder = require(data_root / "ade20k_sample")
    rows = [line.split("\t") for line in (folder / "objectInfo150.txt").read_text().splitlines()[1:]]
    card = ade20k.describe(ade20k.Options())
    assert list(card.classes) == [row[-1].split(",")[0].strip() for row in rows]
    assert card.colors[:3] == ((120, 120, 120), (180, 120, 120), (6, 230, 230))
    assert len(card.colors) == 150
    dataset = ade20k.build(ade20k.Options(root=str(folder)))
    assert set(dataset.splits) == {"val"}  # the sample has no training images
    stated = stated_shares(folder, -1)
    assert len(stated) == 16
    shares = measured_shares(dataset, "val")
    assert {value: shares[value - 1 if value else VOID] for value in stated} == pytest.approx(stated, abs=0.001)
    assert sum(shares[value - 1 if value else VOID] for value in stated) == pytest.approx(100)


# --- COCO-Stuff --------------------------------------------------------------------------------------------------


def test_coco_stuff_closes_the_gaps_in_the_order_of_the_values(tmp_path: Path) -> None:
    for split in ("train", "val"):
        picture(tmp_path / f"images/{split}2017/1.jpg")
        mask(tmp_path / f"annotations/{split}2017/1.png", [[0, 10, 12], [91, 181, 255]])
        mask(tmp_path / f"annotations/{split}2017/1_labelTrainIds.png", [[0, 10, 11], [80, 170, 255]])
    dataset = coco_stuff.build(coco_stuff.Options(root=str(tmp_path)))
    assert labels(dataset, "val") == {"1": [[0, 10, 11], [80, 170, VOID]]}
    named = [dataset.card.classes[index] for index in (0, 10, 11, 79, 80, 170)]
    assert named == ["person", "fire hydrant", "stop sign", "toothbrush", "banner", "wood"]
    mask(tmp_path / "annotations/val2017/1.png", [[0, 11, 12], [91, 181, 255]])
    with pytest.raises(DataError, match="value 11 in 1 pixels"):
        dataset.splits["val"][0].read()


def test_coco_stuff_names_its_things_as_coco_does_and_has_no_class_at_a_gap() -> None:
    table = json.loads(Path(coco_stuff.__file__).with_name("_coco_stuff.json").read_text())["names"]
    assert [name or "N/A" for name in table[:90]] == _meta._COCO_CATEGORIES[1:]
    assert tuple(value for value, name in enumerate(table) if name is None) == COCO_GAPS
    assert len(table) == 182
    assert len(set(coco_stuff.describe(coco_stuff.Options()).classes)) == 171


def test_the_real_sample_of_coco_stuff_loads(data_root: Path) -> None:
    folder = require(data_root / "cocostuff_sample")
    options = coco_stuff.Options(root=str(folder), images="images/{split}", masks="masks/{split}")
    dataset = coco_stuff.build(options)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 13, "val": 8}
    for split, column in (("train", 0), ("val", 1)):
        shares = measured_shares(dataset, split)
        for value, share in stated_shares(folder, column).items():
            index = VOID if value == 255 else value - sum(gap < value for gap in COCO_GAPS)
            assert shares[index] == pytest.approx(share, abs=0.001), (split, value)


# --- Pascal VOC --------------------------------------------------------------------------------------------------


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for id_, folder in (("a", "SegmentationClass"), ("v", "SegmentationClass"), ("s", "SegmentationClassAug")):
        picture(tmp_path / f"JPEGImages/{id_}.jpg")
        mask(tmp_path / f"{folder}/{id_}.png", [[0, 1, 20], [255, 15, 0]], palette=folder == "SegmentationClass")
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("v\n")
    (lists / "trainaug.txt").write_text("/JPEGImages/a.jpg /SegmentationClassAug/a.png\ns\n")
    return tmp_path


def test_voc_palettes_are_read_as_indices_with_255_void(voc: Path) -> None:
    dataset = pascal_voc.build(pascal_voc.Options(root=str(voc)))
    assert labels(dataset, "train") == {"a": [[0, 1, 20], [VOID, 15, 0]]}
    assert set(dataset.splits) == {"train", "val"}
    assert ["__background__", *dataset.card.classes[1:]] == _meta._VOC_CATEGORIES
    assert dataset.card.colors[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))


def test_trainaug_adds_images_whose_masks_lie_apart(voc: Path) -> None:
    dataset = pascal_voc.build(pascal_voc.Options(root=str(voc), train_list="trainaug"))
    assert list(labels(dataset, "train")) == ["a", "s"]
    assert list(labels(dataset, "val")) == ["v"]


def test_a_trainaug_list_that_holds_validation_images_is_refused(voc: Path) -> None:
    (voc / "ImageSets/Segmentation/trainaug.txt").write_text("s\nv\n")
    with pytest.raises(DataError, match=r"'v' is in trainaug\.txt and in val\.txt"):
        pascal_voc.build(pascal_voc.Options(root=str(voc), train_list="trainaug"))


def test_a_missing_sbd_mask_is_named(voc: Path) -> None:
    (voc / "SegmentationClassAug/s.png").unlink()
    with pytest.raises(DataError, match=r"trainaug\.txt:2: .*SegmentationClassAug/s\.png: No such file"):
        pascal_voc.build(pascal_voc.Options(root=str(voc), train_list="trainaug"))


# --- CamVid in 32 colours ----------------------------------------------------------------------------------------

SKY, CAR, BICYCLIST = (128, 128, 128), (64, 0, 128), (0, 128, 192)


def camvid32(root: Path) -> Dataset:
    return camvid.build(camvid.Options(root=str(root), variant="original32"))


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    for split in SPLITS:
        picture(tmp_path / f"{split}/0001TP_{split}.png")
        colors = [[SKY, CAR, BICYCLIST], [(0, 0, 0), SKY, CAR]]
        mask(tmp_path / f"{split}_labels/0001TP_{split}_L.png", colors)
    return tmp_path


def test_the_original_camvid_is_read_by_its_colours_with_black_void(drives: Path) -> None:
    dataset = camvid32(drives)
    sky, car, bicyclist = (dataset.card.classes.index(name) for name in ("Sky", "Car", "Bicyclist"))
    assert labels(dataset, "val") == {"0001TP_val": [[sky, car, bicyclist], [VOID, sky, car]]}
    assert dataset.splits["val"][0].group == "0001TP"
    assert len(dataset.card.classes) == len(set(dataset.card.colors)) == 31


def test_the_original_camvid_follows_lists_where_there_are_any(drives: Path) -> None:
    for split, listed in {"train": "val", "val": "train", "test": "test"}.items():
        line = f"{listed}/0001TP_{listed}.png {listed}_labels/0001TP_{listed}_L.png"
        (drives / f"{split}.txt").write_text(line)
    assert [camvid32(drives).splits[split][0].id for split in SPLITS] == ["0001TP_val", "0001TP_train", "0001TP_test"]


def test_the_original_camvid_without_a_split_says_that_there_is_no_official_one(tmp_path: Path) -> None:
    picture(tmp_path / "701_StillsRaw_full/0001TP_1.png")
    with pytest.raises(DataError, match=r"train_labels: no such folder.*no official split: write train\.txt"):
        camvid32(tmp_path)


def test_a_colour_that_stands_for_nothing_is_named(drives: Path) -> None:
    mask(drives / "val_labels/0001TP_val_L.png", [[SKY, (1, 2, 3), CAR], [SKY, SKY, SKY]])
    with pytest.raises(DataError, match=r"colour \[1, 2, 3\] in 1 pixels \(first at x=1, y=0\)"):
        labels(camvid32(drives), "val")


# --- folders per split -------------------------------------------------------------------------------------------


def test_a_split_without_any_folder_is_left_out_but_half_a_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no split; none of these folders is there: .*images/training"):
        ade20k.build(ade20k.Options(root=str(tmp_path)))
    picture(tmp_path / "images/validation/a.jpg")
    with pytest.raises(DataError, match="annotations/validation: no such folder"):
        ade20k.build(ade20k.Options(root=str(tmp_path)))


@pytest.mark.parametrize("missing", ["images/validation/b.jpg", "annotations/validation/b.png"])
def test_files_without_partner_are_refused_in_either_direction(tmp_path: Path, missing: str) -> None:
    for name in "ab":
        picture(tmp_path / f"images/validation/{name}.jpg")
        mask(tmp_path / f"annotations/validation/{name}.png", [[0, 1, 2], [3, 4, 5]])
    (tmp_path / missing).unlink()
    with pytest.raises(DataError, match=r"1 name \(b\) without a"):
        ade20k.build(ade20k.Options(root=str(tmp_path)))
