"""Cityscapes and BDD100K: the tables against what is published, both layouts, and masks of the wrong kind."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from cityscapesscripts.helpers import labels as official
from PIL import Image
from pydantic import ValidationError
from street_trials import entry, street_config

from segsweep.trainables.components import VOID, DataError, Dataset, DatasetCard
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.datasets import bdd100k_drivable, bdd100k_semantic, cityscapes
from segsweep.trainables.datasets._street_labels import LABELS
from segsweep.trainables.trial import Trial

Array = npt.NDArray[np.uint8]

TRAIN_IDS = {  # id: trainId, name, colour; every other id is 255
    7: (0, "road", (128, 64, 128)),
    8: (1, "sidewalk", (244, 35, 232)),
    11: (2, "building", (70, 70, 70)),
    12: (3, "wall", (102, 102, 156)),
    13: (4, "fence", (190, 153, 153)),
    17: (5, "pole", (153, 153, 153)),
    19: (6, "traffic light", (250, 170, 30)),
    20: (7, "traffic sign", (220, 220, 0)),
    21: (8, "vegetation", (107, 142, 35)),
    22: (9, "terrain", (152, 251, 152)),
    23: (10, "sky", (70, 130, 180)),
    24: (11, "person", (220, 20, 60)),
    25: (12, "rider", (255, 0, 0)),
    26: (13, "car", (0, 0, 142)),
    27: (14, "truck", (0, 0, 70)),
    28: (15, "bus", (0, 60, 100)),
    31: (16, "train", (0, 80, 100)),
    32: (17, "motorcycle", (0, 0, 230)),
    33: (18, "bicycle", (119, 11, 32)),
}
CATEGORIES = {  # name: ids, first to last
    "void": (0, 6),
    "flat": (7, 10),
    "construction": (11, 16),
    "object": (17, 20),
    "nature": (21, 22),
    "sky": (23, 23),
    "human": (24, 25),
    "vehicle": (26, 33),
}
IDS = np.arange(34, dtype=np.uint8).reshape(2, 17)  # a mask that has every label


def save(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def add_frame(root: Path, id_: str, mask: Array, kind: str = "labelIds", split: str = "train") -> None:
    save(root / f"leftImg8bit/{split}/{id_}_leftImg8bit.png", np.zeros((*mask.shape, 3), np.uint8))
    save(root / f"gtFine/{split}/{id_}_gtFine_{kind}.png", mask)


def read_streets(root: Path, **options: object) -> Array:
    """The label of the first training frame."""
    dataset = cityscapes.build(cityscapes.Options.model_validate({"root": str(root), **options}))
    return dataset.splits["train"][0].read().label


# --- Cityscapes: tables ------------------------------------------------------------------------------------------


def test_every_label_is_that_of_the_official_table() -> None:
    theirs = [(label.id, label.name, label.category, label.ignoreInEval, label.color) for label in official.labels]
    assert [tuple(label) for label in LABELS] == theirs
    assert len(LABELS) == 35


def test_the_19_classes_have_the_published_order_names_and_colours() -> None:
    card = cityscapes.describe(cityscapes.Options())
    assert list(zip(range(19), card.classes, card.colors, strict=True)) == list(TRAIN_IDS.values())


def test_ids_become_train_ids_and_all_others_void(tmp_path: Path) -> None:
    add_frame(tmp_path, "ulm/ulm_000000_000019", IDS)
    assert read_streets(tmp_path).ravel().tolist() == [
        TRAIN_IDS[id_][0] if id_ in TRAIN_IDS else 255 for id_ in range(34)
    ]


def test_train_id_files_are_read_as_they_are(tmp_path: Path) -> None:
    mask = np.array([[*range(19), 255]], np.uint8)
    add_frame(tmp_path, "ulm/ulm_000000_000019", mask, "labelTrainIds")
    assert np.array_equal(read_streets(tmp_path, labels="train_ids"), mask)


def test_the_seven_categories_hold_scored_labels_only(tmp_path: Path) -> None:
    add_frame(tmp_path, "ulm/ulm_000000_000019", IDS)
    assert cityscapes.describe(cityscapes.Options(classes="categories")).classes == tuple(CATEGORIES)[1:]
    expected = [number_of(id_) - 1 if id_ in TRAIN_IDS else 255 for id_ in range(34)]
    assert read_streets(tmp_path, classes="categories").ravel().tolist() == expected


def test_the_categories_of_train_ids_are_those_of_their_ids(tmp_path: Path) -> None:
    add_frame(tmp_path, "ulm/ulm_000000_000019", np.array([[*range(19), 255]], np.uint8), "labelTrainIds")
    found = read_streets(tmp_path, labels="train_ids", classes="categories").ravel().tolist()
    assert found == [*(number_of(id_) - 1 for id_ in TRAIN_IDS), 255]


def test_the_eight_categories_count_every_label_and_nothing_is_void(tmp_path: Path) -> None:
    add_frame(tmp_path, "ulm/ulm_000000_000019", IDS)
    card = cityscapes.describe(cityscapes.Options(classes="categories_with_void"))
    assert card.classes == tuple(CATEGORIES)
    assert card.colors[0] == (0, 0, 0)
    expected = [number_of(id_) for id_ in range(34)]
    assert read_streets(tmp_path, classes="categories_with_void").ravel().tolist() == expected


def number_of(id_: int) -> int:
    """The number of a label's category, void being 0."""
    return next(n for n, (first, last) in enumerate(CATEGORIES.values()) if first <= id_ <= last)


# --- Cityscapes: files -------------------------------------------------------------------------------------------


def test_frames_are_sorted_and_grouped_by_city_and_test_frames_stay_out(tmp_path: Path) -> None:
    names = ["ulm/ulm_000001_000019", "bochum/bochum_000000_031687", "ulm/ulm_000000_000019"]
    for name in names:
        add_frame(tmp_path, name, IDS)
    add_frame(tmp_path, "lindau/lindau_000000_000019", IDS, split="val")
    add_frame(tmp_path, "bonn/bonn_000000_000019", np.zeros_like(IDS), split="test")
    splits = cityscapes.build(cityscapes.Options(root=str(tmp_path))).splits
    assert {split: [sample.id for sample in samples] for split, samples in splits.items()} == {
        "train": sorted(names),
        "val": ["lindau/lindau_000000_000019"],
    }
    assert [sample.group for sample in splits["train"]] == ["bochum", "ulm", "ulm"]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """As many files as Cityscapes has for train and val, the re-split of which is asked for; all of them empty."""
    root = tmp_path_factory.mktemp("full")
    for split, count in {"train": 2975, "val": 500}.items():
        for below, ending in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
            (root / f"{below}/{split}/{split}").mkdir(parents=True)
            for number in range(count):
                (root / f"{below}/{split}/{split}/{split}_{number:06}_000019_{ending}.png").touch()
    return cityscapes.build(cityscapes.Options(root=str(root), split="resplit_2953_261_261"))


def test_the_re_split_has_2953_261_and_261_frames_and_none_twice(full: Dataset) -> None:
    assert {split: len(samples) for split, samples in full.splits.items()} == {"train": 2953, "val": 261, "test": 261}
    assert len({sample.id for samples in full.splits.values() for sample in samples}) == 3475


def test_the_re_split_mixes_train_and_val(full: Dataset) -> None:
    for samples in full.splits.values():
        share = sum(sample.group == "val" for sample in samples) / len(samples)
        assert 0.09 < share < 0.20  # 500 of 3,475 are 0.144


def test_the_re_split_needs_both_splits_and_no_frame_twice(tmp_path: Path) -> None:
    options = cityscapes.Options(root=str(tmp_path), split="resplit_2953_261_261")
    add_frame(tmp_path, "ulm/ulm_000000_000019", IDS)
    with pytest.raises(DataError, match="only train is there"):
        cityscapes.build(options)
    add_frame(tmp_path, "ulm/ulm_000000_000019", IDS, split="val")
    with pytest.raises(DataError, match="ulm_000000_000019 is in train and in val"):
        cityscapes.build(options)


@pytest.mark.parametrize(
    ("kind", "declared", "mask", "message"),
    [
        ("labelIds", "ids", [0, 13, 255], r"value 255 .*holds? trainIds: give `labels: train_ids`"),
        ("labelTrainIds", "train_ids", [7, 11, 26], r"value 26 .*holds? ids: give `labels: ids`"),
        ("labelIds", "ids", [7, 34], r"value 34 .*no class"),
    ],
)
def test_masks_of_the_other_kind_are_refused_by_their_values(
    tmp_path: Path, kind: str, declared: str, mask: list[int], message: str
) -> None:
    add_frame(tmp_path, "ulm/ulm_000000_000019", np.array([mask], np.uint8), kind)
    with pytest.raises(DataError, match=message):
        read_streets(tmp_path, labels=declared)


@pytest.mark.parametrize(("kind", "declared"), [("labelTrainIds", "ids"), ("labelIds", "train_ids")])
def test_a_folder_with_the_other_kind_of_files_names_the_option(tmp_path: Path, kind: str, declared: str) -> None:
    add_frame(tmp_path, "ulm/ulm_000000_000019", IDS, kind)
    with pytest.raises(DataError, match=rf"_{kind}\.png, such as .*`labels: "):
        read_streets(tmp_path, labels=declared)


def test_a_frame_without_mask_and_a_mask_without_frame_are_both_named(tmp_path: Path) -> None:
    for number in range(3):
        add_frame(tmp_path, f"ulm/ulm_00000{number}_000019", IDS)
    (tmp_path / "gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png").unlink()
    (tmp_path / "leftImg8bit/train/ulm/ulm_000001_000019_leftImg8bit.png").unlink()
    with pytest.raises(
        DataError, match=r"ulm_000001_000019\) without an image(.|\n)*ulm_000000_000019\) without a mask"
    ):
        read_streets(tmp_path)


def test_void_as_a_class_cannot_be_made_of_train_ids() -> None:
    with pytest.raises(ValidationError, match="needs `labels: ids`"):
        cityscapes.Options(labels="train_ids", classes="categories_with_void")


def test_stamps_tell_class_variants_apart(tmp_path: Path) -> None:
    add_frame(tmp_path, "ulm/ulm_000000_000019", IDS)
    variants = ("trainable", "categories", "categories_with_void")
    built = (
        cityscapes.build(cityscapes.Options.model_validate({"root": str(tmp_path), "classes": v})) for v in variants
    )
    assert len({dataset.splits["train"][0].stamp for dataset in built}) == 3


# --- BDD100K drivable --------------------------------------------------------------------------------------------

SCENE = np.array([[2, 2, 2, 2], [2, 2, 2, 2], [2, 0, 0, 1], [2, 0, 0, 1]], np.uint8)  # as the classes are numbered
OLD = np.array([1, 2, 0], np.uint8)  # class: value of the 2018 release


def add_scene(root: Path, encoding: str, mask: Array, id_: str = "0000f77c-6257be58") -> None:
    place = {
        "masks_2020": f"labels/drivable/masks/train/{id_}.png",
        "maps_2018": f"drivable_maps/labels/train/{id_}_drivable_id.png",
    }
    save(root / f"images/100k/train/{id_}.jpg", np.zeros((*mask.shape, 3), np.uint8))
    save(root / place[encoding], mask)


def drivable(root: Path, **options: object) -> Dataset:
    return bdd100k_drivable.build(bdd100k_drivable.Options.model_validate({"root": str(root), **options}))


def test_drivable_classes_have_the_published_names_and_colours() -> None:
    assert bdd100k_drivable.describe(bdd100k_drivable.Options()) == DatasetCard(
        ("direct", "alternative", "background"),
        ((219, 94, 86), (86, 211, 219), (0, 0, 0)),
        scored=(0, 1),
        values=((0, 0), (1, 1), (2, 2)),
    )
    old = bdd100k_drivable.describe(bdd100k_drivable.Options(encoding="maps_2018"))
    assert old.values == ((0, 2), (1, 0), (2, 1))
    assert bdd100k_drivable.describe(bdd100k_drivable.Options(score="three_class")).scored is None


@pytest.mark.parametrize("declared", ["auto", "given"])
@pytest.mark.parametrize(("encoding", "values"), [("masks_2020", SCENE), ("maps_2018", OLD[SCENE])])
def test_both_releases_give_the_same_labels(tmp_path: Path, encoding: str, values: Array, declared: str) -> None:
    add_scene(tmp_path, encoding, values)
    dataset = drivable(tmp_path, encoding=encoding if declared == "given" else "auto")
    (sample,) = dataset.splits["train"]
    assert sample.id == "0000f77c-6257be58"
    assert np.array_equal(sample.read().label, SCENE)
    assert sample.stamp.endswith(encoding)


def test_where_both_releases_are_there_one_has_to_be_declared(tmp_path: Path) -> None:
    add_scene(tmp_path, "masks_2020", SCENE)
    add_scene(tmp_path, "maps_2018", OLD[SCENE])
    with pytest.raises(DataError, match="`encoding: masks_2020` or `encoding: maps_2018`"):
        drivable(tmp_path)
    stamps = {drivable(tmp_path, encoding=one).splits["train"][0].stamp for one in ("masks_2020", "maps_2018")}
    assert len(stamps) == 2


def test_without_masks_both_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither labels/drivable/masks .* nor drivable_maps/labels"):
        drivable(tmp_path)


@pytest.mark.parametrize(
    ("encoding", "wrong", "remedy"),
    [("masks_2020", OLD[SCENE], "maps_2018"), ("maps_2018", SCENE, "masks_2020")],
)
def test_masks_of_the_other_release_are_refused_for_a_drivable_sky(
    tmp_path: Path, encoding: str, wrong: Array, remedy: str
) -> None:
    add_scene(tmp_path, encoding, wrong)
    with pytest.raises(DataError, match=rf"0000f77c.*read as {encoding}.*give `encoding: {remedy}`"):
        drivable(tmp_path).splits["train"][0].read()


@pytest.mark.parametrize("scene", [np.full((4, 4), 2), SCENE[::-1], np.array([[0, 0], [2, 2], [2, 2]])])
def test_odd_scenes_are_no_sign_of_the_other_release(tmp_path: Path, scene: npt.NDArray[np.int64]) -> None:
    add_scene(tmp_path, "masks_2020", scene.astype(np.uint8))  # nothing to drive on; upside down; a road at the top
    assert np.array_equal(drivable(tmp_path).splits["train"][0].read().label, scene)


@pytest.mark.parametrize("value", [3, 255])
def test_other_values_in_a_drivable_mask_are_refused(tmp_path: Path, value: int) -> None:
    add_scene(tmp_path, "masks_2020", np.where(SCENE == 1, value, SCENE).astype(np.uint8))
    with pytest.raises(DataError, match=f"value {value} in 2 pixels"):
        drivable(tmp_path).splits["train"][0].read()


def test_trials_report_the_declared_score_and_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    root, scene = tmp_path / "bdd", np.kron(SCENE, np.ones((8, 8), np.uint8))
    for number in range(2):
        add_scene(root, "masks_2020", scene, f"{number}")
    for below in ("images/100k", "labels/drivable/masks"):
        (root / below / "val").symlink_to(root / below / "train")
    metrics, fingerprints = {}, set()
    for score in ("two_class", "three_class"):
        with Trial(drivable_trial(root, score), tmp_path / score) as trial:
            metrics[score] = trial.step().metrics
            fingerprints.add(trial.facts["data_fingerprint"])
    assert metrics["two_class"]["val_miou_all_classes"] == metrics["three_class"]["val_miou"]
    assert metrics["two_class"]["val_miou"] != metrics["three_class"]["val_miou"]
    assert "val_miou_all_classes" not in metrics["three_class"]
    assert len(fingerprints) == 2


def drivable_trial(root: Path, score: str) -> TrialConfig:
    return street_config(
        dataset=entry("bdd100k_drivable", root=str(root), score=score),
        optimizer=entry("adamw", lr=1e-3, weight_decay=0.01),
        lr_schedule=entry("constant"),
        batch_size=2,
        image_size=(32, 32),
        seed=0,
    )


# --- BDD100K semantic --------------------------------------------------------------------------------------------


def test_bdd_semantic_masks_hold_the_train_ids_of_cityscapes(tmp_path: Path) -> None:
    mask = np.array([[*range(19), 255]], np.uint8)
    save(tmp_path / "images/10k/train/a.jpg", np.zeros((*mask.shape, 3), np.uint8))
    save(tmp_path / "labels/sem_seg/masks/train/a.png", mask)
    dataset = bdd100k_semantic.build(bdd100k_semantic.Options(root=str(tmp_path)))
    assert np.array_equal(dataset.splits["train"][0].read().label, mask)
    assert list(zip(dataset.card.classes, dataset.card.colors, strict=True)) == [row[1:] for row in TRAIN_IDS.values()]


def test_ids_of_bdds_own_table_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "images/10k/val/a.jpg", np.zeros((2, 2, 3), np.uint8))
    save(tmp_path / "labels/sem_seg/masks/val/a.png", np.array([[7, 35], [29, 30]], np.uint8))  # road, car ...
    dataset = bdd100k_semantic.build(bdd100k_semantic.Options(root=str(tmp_path)))
    with pytest.raises(DataError, match=r"value 29, 30, 35 .*holds? trainIds"):
        dataset.splits["val"][0].read()


# --- real files --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample_root(data_root: Path) -> Path:
    root = data_root / "cityscapes_sample"
    return root if root.is_dir() else pytest.skip(f"no {root}")


def test_real_ids_and_train_ids_give_the_same_labels(sample_root: Path) -> None:
    splits = [
        cityscapes.build(cityscapes.Options.model_validate({"root": str(sample_root), "labels": labels})).splits
        for labels in ("ids", "train_ids")
    ]
    assert {split: len(samples) for split, samples in splits[0].items()} == {"train": 5, "val": 3}
    for a, b in itertools.chain.from_iterable(zip(splits[0][s], splits[1][s], strict=True) for s in splits[0]):
        assert (a.id, a.group) == (b.id, "aachen")
        assert np.array_equal(a.read().label, b.read().label)
        assert a.read().image.shape == (512, 1024, 3)


def test_real_train_ids_given_as_ids_are_refused(sample_root: Path, tmp_path: Path) -> None:
    """Every frame: each shows the bonnet or the border, which are 255 in trainIds."""
    for kind, other in (("labelIds", "labelTrainIds"), ("labelTrainIds", "labelIds")):
        root = tmp_path / kind
        root.mkdir()
        (root / "leftImg8bit").mkdir()
        (root / "leftImg8bit/val").symlink_to(sample_root / "leftImg8bit/val")
        for mask in sample_root.glob(f"gtFine/val/*/*_{other}.png"):
            place = root / mask.relative_to(sample_root).with_name(mask.name.replace(other, kind))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(mask)
        declared = "ids" if kind == "labelIds" else "train_ids"
        dataset = cityscapes.build(cityscapes.Options.model_validate({"root": str(root), "labels": declared}))
        for sample in dataset.splits["val"]:
            with pytest.raises(DataError, match="give `labels: "):
                sample.read()


def test_both_releases_of_the_drivable_layout_give_the_same_labels(data_root: Path) -> None:
    root = data_root / "bdd100k_layout_from_camvid"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    new, old = (drivable(root, encoding=encoding).splits for encoding in ("masks_2020", "maps_2018"))
    assert {split: len(samples) for split, samples in new.items()} == {"train": 40, "val": 20}
    counts: Counter[int] = Counter()
    for a, b in zip(new["val"], old["val"], strict=True):
        label = a.read().label
        assert a.id == b.id
        assert np.array_equal(label, b.read().label)
        counts.update(label.ravel().tolist())
    shares = [100 * counts[value] / counts.total() for value in range(3)]
    assert shares == pytest.approx([28.845, 8.801, 62.354], abs=0.0006)  # as its source states for val
    assert VOID not in counts
