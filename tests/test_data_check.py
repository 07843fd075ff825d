"""segsweep data check: every fault planted in copies of real files is found and named, and clean data have none."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.trainables import catalog
from segsweep.trainables.components import ComponentOptions, Dataset, DatasetCard, Pair, Sample
from segsweep.trainables.data import workers
from segsweep.trainables.data.mask_borders import looks_interpolated
from segsweep.trainables.datasets._files import orientation
from segsweep.trainables.survey import near_duplicates
from segsweep.trainables.survey.audit import audit
from segsweep.trainables.survey.near_duplicates import SIDE, Match, fingerprint, matches

FRAMES = {  # of camvid, far enough apart to show different places
    "train": ("0001TP_006690", "0006R0_f00930", "0006R0_f02460", "0016E5_00390", "0016E5_05520"),
    "val": ("0016E5_07959", "0016E5_08101"),
    "test": ("Seq05VD_f00000", "Seq05VD_f02850"),
}
NAMES = [name for names in FRAMES.values() for name in names]


# --- a copy of a few real files, and the command ------------------------------------------------------------------


@pytest.fixture
def camvid(data_root: Path, tmp_path: Path) -> Path:
    """A few frames of camvid with their masks and lists."""
    source = existing(data_root / "camvid")
    root = tmp_path / "camvid"
    for split, names in FRAMES.items():
        for folder, ending in ((split, "jpg"), (f"{split}annot", "png")):
            (root / folder).mkdir(parents=True)
            for name in names:
                shutil.copy(source / folder / f"{name}.{ending}", root / folder)
        write_list(root, split, names)
    return root


@pytest.fixture
def horses(data_root: Path, tmp_path: Path) -> Path:
    """Eight horses, to be split by a seed; no photo of them is square."""
    source = existing(data_root / "weizmann_horses")
    root = tmp_path / "horses"
    for folder, ending in (("images", "jpg"), ("masks", "png")):
        (root / folder).mkdir(parents=True)
        for number in range(10, 18):
            shutil.copy(source / folder / f"horse{number:03}.{ending}", root / folder)
    shutil.copy(source / "classes.json", root)
    return root


def existing(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f"no data: there is no {folder}; neither $SEGSWEEP_DATA nor ../shared/data has it")
    return folder


def write_list(root: Path, split: str, names: Sequence[str]) -> None:
    lines = [f"{split}/{name}.jpg {split}annot/{name}.png" for name in names]
    (root / f"{split}.txt").write_text("\n".join(lines) + "\n")


def space(folder: Path, *datasets: str) -> Path:
    """A search space of these datasets, in YAML's flow style."""
    path = folder / "space.yaml"
    entries = "".join(f"  - {dataset}\n" for dataset in datasets)
    path.write_text(f"datasets:\n{entries}models: [unet]\nepochs: 1\nimage_size: [64, 64]\n")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["data", "check", *map(str, arguments)], catch_exceptions=False)


def checked(folder: Path, dataset: str) -> dict[str, Any]:
    """What --json says of one dataset; the exit code has to fit it."""
    done = run(space(folder, dataset), "--json")
    said = json.loads(done.stdout)
    (found,) = said["datasets"]
    assert said["faults"] == len(found["faults"])
    assert done.exit_code == (2 if found["faults"] else 0)
    return dict(found)


def of_camvid(root: Path) -> dict[str, Any]:
    return checked(root.parent, f"{{type: camvid, root: {root}}}")


def of_horses(root: Path) -> dict[str, Any]:
    return checked(root.parent, f"{{type: folder, root: {root}, split: {{}}}}")


def kinds(findings: Sequence[dict[str, Any]]) -> list[str]:
    return [finding["kind"] for finding in findings]


# --- single files -------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def overwrite(path: Path) -> None:
    path.write_text("no picture")


def shrink(path: Path) -> None:
    Image.open(path).resize((240, 180), Image.Resampling.NEAREST).save(path)


def unknown_value(path: Path) -> None:
    mask = np.array(Image.open(path))
    mask[5, 7] = 200
    Image.fromarray(mask).save(path)


def interpolate(path: Path) -> None:
    """As a resize for photos does it: every value stays one of 0..11."""
    mask = Image.open(path)
    small = mask.resize((240, 180), Image.Resampling.BILINEAR)
    small.resize(mask.size, Image.Resampling.BILINEAR).save(path)


def through_jpeg(path: Path) -> None:
    Image.open(path).save(path, "JPEG", quality=95)


def plain_jpeg(path: Path) -> None:
    """Of one value, which JPEG keeps."""
    Image.new("L", (480, 360), 3).save(path, "JPEG")


def brightened_jpeg(path: Path) -> None:
    """Values far apart, as users have them who look at their masks; JPEG puts hundreds between them."""
    mask = Image.open(path).point(lambda value: value * 20)
    mask.save(path, "JPEG", quality=90)


def turn_by_tag(path: Path, tag: int = 6) -> None:
    image = Image.open(path)
    exif = image.getexif()
    exif[0x0112] = tag
    image.save(path, exif=exif, quality=90)


TRAIN, MASK = f"train/{FRAMES['train'][1]}.jpg", f"trainannot/{FRAMES['train'][1]}.png"


@pytest.mark.parametrize(
    ("spoil", "file", "kind", "says"),
    [
        (truncate, TRAIN, "unreadable", "truncated"),
        (truncate, MASK, "unreadable", "cannot be read as an image"),
        (overwrite, TRAIN, "unreadable", "cannot identify image file"),
        (shrink, MASK, "sizes", "the mask is 240x180 but its image 0006R0_f00930.jpg is 480x360"),
        (unknown_value, MASK, "values", "value 200 in 1 pixels (first at x=7, y=5) is no class. Allowed: 0 = Sky"),
        (interpolate, MASK, "interpolated", "export the mask anew, as PNG and with nearest-neighbour interpolation"),
        (through_jpeg, MASK, "interpolated", "as smooth scaling and JPEG leave them"),
        (plain_jpeg, MASK, "interpolated", "is a JPEG"),
        (brightened_jpeg, MASK, "interpolated", "as smooth scaling and JPEG leave them"),
        (turn_by_tag, TRAIN, "orientation", "EXIF orientation 6 turns it to 360x480"),
    ],
)
def test_a_damaged_file_is_the_one_fault(
    camvid: Path, spoil: Callable[[Path], None], file: str, kind: str, says: str
) -> None:
    assert of_camvid(camvid)["faults"] == []
    spoil(camvid / file)
    (fault,) = of_camvid(camvid)["faults"]
    assert (fault["kind"], fault["split"], fault["sample"]) == (kind, "train", "0006R0_f00930")
    assert Path(file).name in fault["message"]
    assert says.lower() in fault["message"].lower()


def test_an_image_that_is_turned_as_its_mask_is_no_fault(horses: Path) -> None:
    mask = horses / "masks/horse012.png"
    Image.open(mask).transpose(Image.Transpose.ROTATE_270).save(mask)  # what tag 6 asks viewers to do
    assert kinds(of_horses(horses)["faults"]) == ["sizes"]
    turn_by_tag(horses / "images/horse012.jpg")
    assert of_horses(horses)["faults"] == []


def test_an_image_that_stands_on_its_head_is_a_warning_as_its_size_proves_nothing(horses: Path) -> None:
    turn_by_tag(horses / "images/horse012.jpg", tag=3)
    found = of_horses(horses)
    assert (found["faults"], kinds(found["warnings"])) == ([], ["orientation"])
    assert "horse012.jpg: its EXIF orientation 3" in found["warnings"][0]["message"]


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("tag", [None, 1, 3, 6, 8, 9])
def test_orientations_are_read_without_decoding(tmp_path: Path, ending: str, tag: int | None) -> None:
    path = tmp_path / f"a.{ending}"
    image = Image.new("RGB", (8, 8))
    exif = Image.Exif()
    if tag is not None:
        exif[0x0112] = tag
    image.save(path, exif=exif)
    assert orientation(path) == (tag if tag in (3, 6, 8) else 1)


# --- lists and splits ---------------------------------------------------------------------------------------------


def test_pairs_are_missed_in_both_directions_and_all_of_them(horses: Path) -> None:
    for number in range(10, 17):
        (horses / f"masks/horse{number:03}.png").unlink()
    (horses / "images/horse017.jpg").unlink()
    faults = of_horses(horses)["faults"]
    assert kinds(faults) == ["unpaired"] * 8
    (alone,) = [one["message"] for one in faults if "a mask without an image" in one["message"]]
    assert alone.startswith(f"{horses}/masks/horse017.png: ")
    lone = [one["message"] for one in faults if "an image without a mask" in one["message"]]
    assert [message.partition(":")[0] for message in lone] == [
        f"{horses}/images/horse{number:03}.jpg" for number in range(10, 17)
    ]


def test_lists_name_every_line_whose_file_is_missing(camvid: Path) -> None:
    for file in (TRAIN, f"trainannot/{FRAMES['train'][3]}.png", f"val/{FRAMES['val'][0]}.jpg"):
        (camvid / file).unlink()
    faults = of_camvid(camvid)["faults"]
    places = [fault["message"].split(": ")[0] for fault in faults]
    assert places == [f"{camvid}/train.txt:2", f"{camvid}/train.txt:4", f"{camvid}/val.txt:1"]
    assert kinds(faults) == ["unpaired"] * 3


def test_an_empty_list_is_a_fault(camvid: Path) -> None:
    (camvid / "val.txt").write_text("\n")
    (fault,) = of_camvid(camvid)["faults"]
    assert fault["message"].startswith(f"{camvid}/val.txt: names no image")


def test_a_split_of_nothing_but_void_is_a_fault(camvid: Path) -> None:
    for name in FRAMES["val"]:
        Image.new("L", (480, 360), 11).save(camvid / f"valannot/{name}.png")
    (fault,) = of_camvid(camvid)["faults"]
    assert (fault["kind"], fault["split"]) == ("void", "val")


def test_a_class_that_a_split_lacks_is_a_warning(camvid: Path) -> None:
    for name in FRAMES["train"]:
        path = camvid / f"trainannot/{name}.png"
        Image.open(path).point(lambda value: 11 if value == 0 else value).save(path)  # no sky
    messages = [one["message"] for one in of_camvid(camvid)["warnings"] if one["kind"] == "class missing"]
    assert "class 0 'Sky' has no pixel in train: it cannot be learned" in messages


def test_a_group_in_two_splits_is_a_warning_with_the_way_out(camvid: Path) -> None:
    (warning,) = [one for one in of_camvid(camvid)["warnings"] if one["kind"] == "group in several splits"]
    assert warning["message"].startswith("group '0016E5' is in train (2 images) and val (2 images)")
    assert "`folds: {count: 3, index: 0, by: group}`" in warning["message"]


class Odd:
    """A plug-in's dataset without files: one split is empty, one sample cannot be read for a reason of its own."""

    Options = ComponentOptions

    @staticmethod
    def build(options: ComponentOptions) -> Dataset:
        good = Sample("good", "1", lambda: drawn(1))
        bad = Sample("bad", "2", lambda: drawn(1 // 0))
        return Dataset(DatasetCard(("a", "b"), ((0, 0, 0), (1, 1, 1))), {"train": [good, bad], "val": []})


def drawn(seed: int) -> Pair:
    random = np.random.default_rng(seed)
    return Pair(random.integers(0, 256, (32, 32, 3), np.uint8), random.integers(0, 2, (32, 32), np.uint8))


def test_plug_ins_without_files_are_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.DATASETS._registered, "odd", Odd)  # type: ignore[arg-type]
    told: list[tuple[int, int]] = []
    found = audit("odd", {}, None, lambda done, total: told.append((done, total))).findings
    messages = [finding.message for many in found.of("fault").values() for finding in many]
    assert messages == [
        "val: has no images; add some or take the split away",
        "bad: cannot be read (ZeroDivisionError: integer division or modulo by zero)",
    ]
    assert told[-1] == (2, 2)


# --- the same image twice -----------------------------------------------------------------------------------------


def save_anew(source: Path, target: Path) -> None:
    """Smaller, and compressed a lot."""
    picture = Image.open(source)
    buffer = io.BytesIO()
    picture.resize((240, 180)).save(buffer, "JPEG", quality=60)
    Image.open(buffer).resize(picture.size).save(target, quality=60)


@pytest.mark.parametrize(
    ("copy", "how"), [(shutil.copyfile, "pixel for pixel"), (save_anew, "saved or scaled anew")], ids=["file", "anew"]
)
def test_a_train_image_in_another_split_is_a_fault(
    camvid: Path, copy: Callable[[Path, Path], object], how: str
) -> None:
    one, other = camvid / TRAIN, camvid / f"val/{FRAMES['val'][1]}.jpg"
    copy(one, other)
    (fault,) = of_camvid(camvid)["faults"]
    assert (fault["kind"], fault["split"], fault["sample"]) == ("leak", "val", FRAMES["val"][1])
    assert fault["message"].startswith(f"{other} (val): the same picture as {one} (train), {how}")


def test_an_image_twice_in_one_split_is_a_warning(camvid: Path) -> None:
    save_anew(camvid / TRAIN, camvid / f"train/{FRAMES['train'][3]}.jpg")
    found = of_camvid(camvid)
    assert found["faults"] == []
    (warning,) = [one for one in found["warnings"] if one["kind"] == "duplicate"]
    assert FRAMES["train"][3] in warning["message"]
    assert Path(TRAIN).name in warning["message"]


def test_neighbouring_frames_in_two_splits_are_a_warning(data_root: Path, camvid: Path) -> None:
    source = existing(data_root / "camvid")
    for split, name in (("train", "0001TP_009300"), ("val", "0001TP_009330")):  # the car stands; one second
        shutil.copy(source / f"test/{name}.jpg", camvid / split)
        shutil.copy(source / f"testannot/{name}.png", camvid / f"{split}annot")
        write_list(camvid, split, [*FRAMES[split], name])
    found = of_camvid(camvid)
    assert found["faults"] == []
    (warning,) = [one for one in found["warnings"] if one["kind"] == "near-duplicate"]
    assert warning["message"].startswith(f"{camvid}/val/0001TP_009330.jpg (val): almost the same as {camvid}/train/")
    assert "`folds: {count: 5, index: 0, by: group}`" in warning["message"]


def test_blank_images_are_no_leak(horses: Path) -> None:
    for path in (horses / "images").iterdir():
        Image.new("RGB", (96, 64), (7, 7, 7)).save(path)
        Image.new("L", (96, 64), 1).save(horses / f"masks/{path.stem}.png")
    found = of_horses(horses)
    assert found["faults"] == []
    assert kinds(found["warnings"]).count("blank image") == 7


def test_what_is_found_does_not_depend_on_the_processes(camvid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truncate(camvid / TRAIN)
    shutil.copyfile(camvid / f"train/{FRAMES['train'][0]}.jpg", camvid / f"val/{FRAMES['val'][1]}.jpg")
    alone = of_camvid(camvid)
    monkeypatch.setattr(workers, "PIXELS_A_PROCESS", 1)
    monkeypatch.setattr(workers, "usable_cpus", lambda: 2)
    assert of_camvid(camvid) == alone


def small_prints(count: int) -> npt.NDArray[np.int8]:
    """Fingerprints of random pictures, every tenth of them like the one before."""
    random = np.random.default_rng(3)
    details = random.integers(-127, 128, (count, SIDE * SIDE)).astype(np.int8)
    details[10::10] = np.clip(details[9:-1:10] + random.integers(-8, 9, details[10::10].shape), -127, 127)
    return details


def test_near_duplicates_are_those_of_comparing_everything_with_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "BLOCK", 16)
    details = small_prints(101)
    splits = np.repeat(np.array([0, 2], np.int8), [50, 51])
    found = matches(np.arange(101), np.arange(101, dtype=np.uint64), details, splits)
    vectors = details / np.linalg.norm(details.astype(float), axis=1, keepdims=True)
    likeness = np.triu(vectors @ vectors.T, 1)
    expected = [(int(b), int(a)) for a, b in np.argwhere(likeness >= near_duplicates.NEAR)]
    assert [(match.image, match.earlier) for match in found] == sorted(expected)
    assert len(found) == 10
    assert all(match.likeness == pytest.approx(likeness[match.earlier, match.image], abs=1e-5) for match in found)


def test_where_all_images_are_alike_each_still_has_its_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "CROWD", 64)
    random = np.random.default_rng(3)
    one = random.integers(-100, 101, SIDE * SIDE)
    details = (one + random.integers(-4, 5, (200, SIDE * SIDE))).astype(np.int8)
    splits = np.repeat(np.array([0, 1], np.int8), 100)
    found = matches(np.arange(200), np.arange(200, dtype=np.uint64), details, splits)
    across = {match.image for match in found if splits[match.image] != splits[match.earlier]}
    assert len(across) > 90  # of 100; each row of a block names one


def test_copies_are_compared_with_the_first_and_unchosen_images_with_none() -> None:
    pixels = np.array([7, 8, 7, 7, 9], np.uint64)
    details = np.zeros((5, SIDE * SIDE), np.int8)
    splits = np.array([0, 0, 0, 1, 1], np.int8)
    assert matches(np.array([0, 1, 3, 4]), pixels, details, splits) == [Match(3, 0, 1.0)]


def test_one_image_has_one_fingerprint_whatever_its_size_in_memory() -> None:
    image = drawn(0).image
    turned = np.asfortranarray(image)
    assert fingerprint(turned).pixels == fingerprint(image).pixels
    assert fingerprint(image[:, :31]).pixels != fingerprint(image).pixels
    assert not fingerprint(np.full((40, 40, 3), 9, np.uint8)).details.any()


# --- masks --------------------------------------------------------------------------------------------------------


def bands(height: int, width: int, *values: int) -> npt.NDArray[np.int64]:
    """Vertical bands of these values."""
    return np.repeat(np.array(values), width // len(values))[None].repeat(height, 0).astype(np.int64)


def test_a_split_whose_masks_cannot_be_read_is_not_called_void(horses: Path) -> None:
    for mask in (horses / "masks").iterdir():
        Image.fromarray(np.array(Image.open(mask)) * 255).save(mask)  # 0 and 255, as tools draw them; no class is 255
    found = of_horses(horses)
    assert found["faults"]
    assert "void" not in kinds(found["faults"])


def test_a_mask_is_interpolated_where_borders_pass_through_values_between() -> None:
    sharp = bands(400, 40, 0, 7, 2, 30)
    assert not looks_interpolated(sharp)
    smooth = sharp.copy()
    smooth[:, 10] = 3  # between 0 and 7, one pixel wide and all along the border
    assert looks_interpolated(smooth)
    assert looks_interpolated(smooth.T)
    thin = sharp.copy()
    thin[:, 10] = 9  # a pole in front of it: no value between
    assert not looks_interpolated(thin)
    assert not looks_interpolated(smooth[:9])  # too few places to judge by


# --- what is printed ----------------------------------------------------------------------------------------------


def test_terminals_get_the_first_of_a_kind_and_programs_get_all(horses: Path) -> None:
    for path in (horses / "masks").iterdir():
        path.rename(path.with_name(f"{path.stem}_old.png"))  # eight masks and eight images alone
    done = run(space(horses.parent, f"{{type: folder, name: mine, root: {horses}, split: {{}}}}"))
    assert done.exit_code == 2
    lines = done.stdout.splitlines()
    assert lines[0] == "mine (not listed): 16 faults and no warnings"
    assert len([line for line in lines if line.startswith(f"  fault: {horses}")]) == 10
    assert lines[-2:] == [
        "  fault: ... 6 more of this kind (unpaired); --json lists all",
        f"16 faults to be put right. Next: segsweep data check {horses.parent}/space.yaml",
    ]
    assert len(of_horses(horses)["faults"]) == 16


def test_clean_data_end_with_the_next_command(horses: Path) -> None:
    path = space(horses.parent, f"{{type: folder, name: mine, root: {horses}, split: {{}}}}")
    done = run(path)
    assert (done.exit_code, done.stderr) == (0, "mine: reading\n")
    assert done.stdout.splitlines() == [
        "mine (train 6, val 1, test 1): no faults and no warnings",
        f"No fault. Next: segsweep plan {path}",
    ]


def test_one_dataset_can_be_chosen(horses: Path, camvid: Path) -> None:
    truncate(camvid / TRAIN)
    path = space(horses.parent, f"{{type: camvid, root: {camvid}}}", f"{{type: folder, root: {horses}, split: {{}}}}")
    assert run(path, "--dataset", "folder").exit_code == 0
    assert run(path).exit_code == 2
    with pytest.raises(
        InputError, match=r"no dataset of the file has that name\. Did you mean 'folder'\? There are: camvid, folder"
    ):
        run(path, "--dataset", "foldr")


# --- real data ----------------------------------------------------------------------------------------------------

CLEAN = {
    "camvid": "{type: camvid, root: ROOT}",
    "cityscapes_sample": "{type: cityscapes, root: ROOT}",
    "cocostuff_sample": "{type: coco_stuff, root: ROOT, images: 'images/{split}', masks: 'masks/{split}'}",
    "ade20k_sample": "{type: ade20k, root: ROOT}",
    "dsb2018_nuclei": "{type: folder, root: ROOT}",
    "weizmann_horses": "{type: folder, root: ROOT}",
    "isbi2012_em": "{type: folder, root: ROOT}",
    "drive_vessels": "{type: folder, root: ROOT}",
    "pet_layout_from_horses": "{type: oxford_pet, root: ROOT}",
    "bdd100k_layout_from_camvid": "{type: bdd100k_drivable, root: ROOT, encoding: masks_2020}",
}


@pytest.mark.parametrize("name", CLEAN)
def test_real_data_have_no_fault(data_root: Path, tmp_path: Path, name: str) -> None:
    root = existing(data_root / name)
    found = checked(tmp_path, CLEAN[name].replace("ROOT", str(root)))
    assert found["faults"] == []
    said = {*kinds(found["warnings"])} - {"class missing"}
    expected = {
        "camvid": {"group in several splits", "duplicate"},  # the car stands still
        "cityscapes_sample": {"group in several splits"},
        "ade20k_sample": {"no such split"},
    }
    assert said == expected.get(name, set())


def test_the_leak_of_the_horses_own_split_is_found(data_root: Path, tmp_path: Path) -> None:
    root = existing(data_root / "weizmann_horses")
    names = {split: (root / f"splits_native/{split}.txt").read_text().split() for split in ("train", "test")}
    names["val"] = [names["train"].pop(0)]  # the loader wants one, this split has none
    for split, some in names.items():
        (tmp_path / f"{split}.txt").write_text("\n".join(some))
    found = checked(tmp_path, f"{{type: folder, root: {root}, lists: {os.fspath(tmp_path)}}}")
    (fault,) = found["faults"]
    assert (fault["kind"], fault["split"], fault["sample"]) == ("leak", "test", "horse205")
    assert "horse175.jpg (train)" in fault["message"]
    twice = [one["message"] for one in found["warnings"] if one["kind"] == "duplicate"]
    for first, second in ((4, 146), (6, 18), (71, 219), (118, 171), (180, 203), (240, 274), (246, 294)):
        assert any(f"horse{first:03}" in message and f"horse{second:03}" in message for message in twice)
