"""Folds and subsets of any dataset: what is where, that nothing is lost, doubled or on both sides."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from segsweep.orchestrator.checking.entries import default_name
from segsweep.trainables.catalog import DATASETS
from segsweep.trainables.components import VOID, DataError, Dataset, DatasetCard, Pair, Sample, Split
from segsweep.trainables.data.presence import FOLDER, class_presence
from segsweep.trainables.data.splits import fold, open_dataset, subset
from segsweep.trainables.data.stratified import draw
from segsweep.trainables.dataset_options import DatasetOptions, Folds, Subset

CARD = DatasetCard(("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))


def unread() -> Pair:
    raise AssertionError("an image was read")


def sample(id_: str, group: str = "", read: Callable[[], Pair] = unread) -> Sample:
    return Sample(id_, f"stamp of {id_}", read, group)


def dataset(train: int, val: int, test: int = 0, groups: int = 0) -> Dataset:
    """Samples 0, 1, 2 ... over the splits; group g0, g1 ... in turn, if any."""
    ids = iter(range(train + val + test))
    splits: dict[Split, list[Sample]] = {}
    for split, count in (("train", train), ("val", val), ("test", test)):
        numbers = [next(ids) for _ in range(count)]
        splits[split] = [sample(f"s{n:03}", f"g{n % groups}" if groups else "") for n in numbers]  # type: ignore[index]
    return Dataset(CARD, splits)


def ids(samples: Sequence[Sample]) -> list[str]:
    return [one.id for one in samples]


def folds_of(whole: Dataset, count: int, by: str, seed: int = 0) -> list[Dataset]:
    options = [{"count": count, "index": i, "by": by, "seed": seed} for i in range(count)]
    return [fold(whole, Folds.model_validate(one)) for one in options]


# --- folds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["sample", "group"])
def test_every_image_is_validated_in_exactly_one_fold_and_trained_in_the_others(by: str) -> None:
    rng = random.Random(0)
    for _ in range(50):
        count = rng.randint(2, 7)
        whole = dataset(rng.randint(count, 60), rng.randint(0, 20), 3, groups=rng.randint(count, 12))
        everything = ids([*whole.splits["train"], *whole.splits["val"]])
        if len({one.group for split in ("train", "val") for one in whole.splits[split]}) < count:  # type: ignore[index]
            continue
        folds = folds_of(whole, count, by, seed=rng.randint(0, 9))
        held = [id_ for one in folds for id_ in ids(one.splits["val"])]
        assert sorted(held) == sorted(everything)
        for one in folds:
            assert one.splits["val"]
            assert sorted(ids(one.splits["train"]) + ids(one.splits["val"])) == sorted(everything)
            assert one.splits["test"] == whole.splits["test"]


def test_a_group_is_never_on_both_sides() -> None:
    rng = random.Random(1)
    for _ in range(50):
        samples = [sample(str(i), f"g{min(rng.randint(0, 9), rng.randint(0, 9))}") for i in range(80)]  # uneven
        for one in folds_of(Dataset(CARD, {"train": samples[:60], "val": samples[60:]}), 4, "group", rng.randint(0, 9)):
            sides = [{each.group for each in one.splits[split]} for split in ("train", "val")]  # type: ignore[index]
            assert not sides[0] & sides[1]


def test_folds_by_group_are_as_even_as_the_groups_allow() -> None:
    sizes = {"a": 40, "b": 30, "c": 20, "d": 20, "e": 10}
    samples = [sample(f"{group}{i}", group) for group, size in sizes.items() for i in range(size)]
    folds = folds_of(Dataset(CARD, {"train": samples}), 3, "group")
    assert sorted(len(one.splits["val"]) for one in folds) == [40, 40, 40]


def test_folds_by_sample_differ_by_one_image_at_most_and_depend_on_the_seed_alone() -> None:
    sizes = [len(one.splits["val"]) for one in folds_of(dataset(20, 3), 5, "sample")]
    assert sorted(sizes) == [4, 4, 5, 5, 5]
    first, again, other = (folds_of(dataset(20, 3), 5, "sample", seed)[0].splits["val"] for seed in (0, 0, 1))
    assert ids(first) == ids(again) != ids(other)
    moved = dataset(3, 20)  # where the samples stood before does not matter
    assert sorted(ids(folds_of(moved, 5, "sample")[0].splits["val"])) == sorted(ids(first))


@pytest.mark.parametrize(
    ("whole", "by", "message"),
    [
        (dataset(8, 2, groups=3), "group", r"3 groups \(g0, g1, g2\), too few for 4 folds; `count` can be at most 3"),
        (dataset(2, 1), "sample", "3 images, too few for 4 folds"),
        (dataset(8, 2), "group", r"'s000' belongs to no group.*`by: sample`"),
        (Dataset(CARD, {"train": [sample("x"), sample("y")], "val": [sample("x")]}), "sample", "id 'x' is there twice"),
    ],
)
def test_folds_that_cannot_be_made_are_refused(whole: Dataset, by: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        folds_of(whole, 4, by)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 5, "index": 5, "by": "group"}, r"`index` is 5, but the 5 folds are 0\.\.4"),
        ({"count": 1, "index": 0, "by": "group"}, "greater than or equal to 2"),
        ({"count": 5, "index": 0}, "Field required"),  # what is independent, only the user knows
    ],
)
def test_folds_that_make_no_sense_are_refused_before_any_data_is_looked_at(
    given: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Folds.model_validate(given)


# --- subsets -----------------------------------------------------------------------------------------------------


def part(whole: Dataset, **wanted: object) -> Dataset:
    return subset(whole, Subset.model_validate(wanted))


def test_first_takes_the_beginning_of_train_and_leaves_the_rest_whole() -> None:
    whole = dataset(10, 4, 4)
    smaller = part(whole, first=3)
    assert ids(smaller.splits["train"]) == ["s000", "s001", "s002"]
    assert (smaller.splits["val"], smaller.splits["test"]) == (whole.splits["val"], whole.splits["test"])


def test_a_fraction_is_drawn_by_the_seed_and_keeps_the_order() -> None:
    whole = dataset(40, 4)
    first, again, other = (ids(part(whole, fraction=0.25, seed=seed).splits["train"]) for seed in (3, 3, 4))
    assert len(first) == 10
    assert first == again == sorted(first)
    assert first != other
    assert len(part(whole, fraction=0.001).splits["train"]) == 1  # never empty


def test_a_subset_may_be_of_other_splits() -> None:
    smaller = part(dataset(10, 8, 6), fraction=0.5, splits=["val", "test"])
    assert [len(smaller.splits[split]) for split in ("train", "val", "test")] == [10, 4, 3]  # type: ignore[index]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"first": 11}, "train has 10 images, fewer than `first: 11`"),
        ({"first": 1, "splits": ["test"]}, "no split 'test' .* the dataset has train, val"),
    ],
)
def test_a_subset_that_is_no_subset_is_refused(wanted: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        part(dataset(10, 4), **wanted)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "needs either"),
        ({"first": 5, "fraction": 0.5}, "needs either"),
        ({"first": 5, "seed": 1}, "go with `fraction` alone"),
        ({"fraction": 1.0}, "less than 1"),
        ({"fraction": 0.5, "splits": []}, "at least 1"),
        ({"fraction": 0.5, "splits": ["val", "val"]}, "twice"),
    ],
)
def test_subsets_that_make_no_sense_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Subset.model_validate(given)


# --- stratified by rare classes ----------------------------------------------------------------------------------


def test_every_class_keeps_its_share_and_the_size_is_exact() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([0.9, 0.5, 0.2, 0.05, 0.02])
    for seed in range(20):
        presence = rng.random((400, 5)) < shares
        drawn = draw(presence, 100, seed)
        assert len(drawn) == len(set(drawn)) == 100
        kept, whole = presence[drawn].sum(0), presence.sum(0)
        assert np.all(np.abs(kept - whole / 4) <= np.maximum(1, 0.1 * whole / 4)), (kept, whole / 4)


def test_a_class_of_a_single_image_is_kept_where_chance_would_mostly_lose_it() -> None:
    presence = np.zeros((100, 3), np.bool_)
    presence[:, 0] = True
    presence[17, 1] = presence[63, 2] = True
    assert all({17, 63} <= set(draw(presence, 10, seed)) for seed in range(20))


def test_images_without_any_class_fill_up_what_is_left() -> None:
    presence = np.zeros((20, 2), np.bool_)
    presence[:4, 0] = True
    drawn = draw(presence, 10, 0)
    assert len(drawn) == 10
    assert sum(index < 4 for index in drawn) == 2


def test_more_classes_than_room_still_give_the_size_that_was_asked_for() -> None:
    assert len(draw(np.eye(9, dtype=np.bool_), 3, 0)) == 3


def labelled(number: int, classes: Sequence[int], reads: list[int]) -> Sample:
    def read() -> Pair:
        reads.append(number)
        label = np.array([[*classes, VOID]], np.uint8)
        return Pair(np.zeros((*label.shape, 3), np.uint8), label)

    return sample(f"s{number:02}", read=read)


def test_presence_is_read_once_and_remembered_until_a_sample_changes(tmp_path: Path) -> None:
    reads: list[int] = []
    samples = [labelled(i, classes, reads) for i, classes in enumerate([[0], [0, 2], [], [1, 1]])]
    expected = [[True, False, False], [True, False, True], [False] * 3, [False, True, False]]
    for _ in range(2):
        assert class_presence(samples, 3, tmp_path).tolist() == expected
    assert sorted(reads) == [0, 1, 2, 3]
    changed = [*samples[:3], Sample("s03", "another stamp", samples[0].read)]
    assert class_presence(changed, 3, tmp_path).tolist() == [*expected[:3], expected[0]]


def test_a_damaged_record_of_presence_is_made_again(tmp_path: Path) -> None:
    samples = [labelled(0, [1], [])]
    class_presence(samples, 3, tmp_path)
    (record,) = (tmp_path / FOLDER).iterdir()
    record.write_bytes(record.read_bytes()[:40])
    assert class_presence(samples, 3, tmp_path).tolist() == [[False, True, False]]
    assert [path.suffix for path in (tmp_path / FOLDER).iterdir()] == [".npy"]


def test_a_cache_folder_that_cannot_be_written_costs_the_memory_only(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file where the folder would be")
    assert class_presence([labelled(0, [1], [])], 3, tmp_path).tolist() == [[False, True, False]]


def test_a_stratified_subset_keeps_a_rare_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path))
    samples = [labelled(i, [0, 1] if i % 10 else [0, 2], []) for i in range(40)]
    smaller = part(Dataset(CARD, {"train": samples}), fraction=0.25, stratify="rare_classes").splits["train"]
    counts = Counter(value for one in smaller for value in one.read().label[0].tolist())
    assert (counts[0], counts[2]) == (10, 1)


# --- on every dataset --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DATASETS.names())
def test_every_dataset_takes_folds_and_subsets(name: str) -> None:
    assert issubclass(DATASETS.get(name).Options, DatasetOptions)


def test_a_subset_is_taken_of_the_fold() -> None:
    options = {"train": 12, "val": 6, "size": [32, 32], "folds": {"count": 3, "index": 1, "by": "sample"}}
    folded = open_dataset("streets", options)
    assert [len(folded.splits[split]) for split in ("train", "val", "test")] == [12, 6, 24]  # type: ignore[index]
    smaller = open_dataset("streets", {**options, "subset": {"first": 4}})
    assert ids(smaller.splits["train"]) == ids(folded.splits["train"])[:4]
    assert ids(smaller.splits["val"]) == ids(folded.splits["val"])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "streets"),
        ({"folds": {"count": 5, "index": 0, "by": "group"}}, "streets-fold0of5-by-group"),
        ({"folds": {"count": 5, "index": 1, "by": "sample", "seed": 2}}, "streets-fold1of5-by-sample-seed2"),
        ({"subset": {"first": 100}}, "streets-first100"),
        (
            {"subset": {"fraction": 0.25, "seed": 3, "stratify": "rare_classes"}},
            "streets-fraction0.25-stratified-seed3",
        ),
        ({"subset": {"first": 9, "splits": ["train", "val"]}}, "streets-first9-train-val"),
        (
            {"subset": {"first": 9}, "folds": {"count": 2, "index": 1, "by": "group"}},
            "streets-fold1of2-by-group-first9",
        ),
    ],
)
def test_a_part_has_another_name_than_the_whole(options: dict[str, object], name: str) -> None:
    assert default_name("datasets", "streets", options, DATASETS.get("streets")) == name  # type: ignore[arg-type]


def test_drives_of_camvid_make_three_folds_and_not_four(data_root: Path) -> None:
    root = data_root / "camvid"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    folds = [
        open_dataset("camvid", {"root": str(root), "folds": {"count": 3, "index": i, "by": "group"}}) for i in range(3)
    ]
    held = [{(one.group, len(each.splits["val"])) for one in each.splits["val"]} for each in folds]
    assert sorted(drive for fold in held for drive in fold) == [("0001TP", 62), ("0006R0", 101), ("0016E5", 305)]
    with pytest.raises(DataError, match=r"3 groups \(0001TP, 0006R0, 0016E5\), too few for 4 folds"):
        open_dataset("camvid", {"root": str(root), "folds": {"count": 4, "index": 0, "by": "group"}})
