"""Our scores against those of the datasets' own scorers, to 1e-9, on real frames and on maps made to differ."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling import args, evaluateImgLists
from cityscapesscripts.helpers.labels import category2labels, id2label, trainId2label
from PIL import Image

from segsweep.trainables.components import VOID
from segsweep.trainables.datasets import bdd100k_drivable, cityscapes
from segsweep.trainables.scoring import metrics

Array = npt.NDArray[np.uint8]

SCORED_IDS = np.array([trainId2label[train_id].id for train_id in range(19)], np.uint8)
CATEGORIES = ("flat", "construction", "object", "nature", "sky", "human", "vehicle")
WITHOUT_CARS = SCORED_IDS[SCORED_IDS != 26]


# --- maps: ids of truth and of a prediction ----------------------------------------------------------------------


def noisy(rng: np.random.Generator, truth: Array, choices: Array, share: float) -> Array:
    """What a network might predict: truth, but `share` of the pixels, and all that it cannot predict, at random."""
    guess = rng.choice(choices, truth.shape).astype(np.uint8)
    return np.where((rng.random(truth.shape) < share) | ~np.isin(truth, choices), guess, truth)


def any_label(rng: np.random.Generator) -> list[tuple[Array, Array]]:
    truth = rng.integers(0, 34, (3, 40, 50), dtype=np.uint8)
    return [(one, noisy(rng, one, SCORED_IDS, 0.6)) for one in truth]


def absent_classes(rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """Truth of few classes; bus and sky are predicted and never true, train and sidewalk in neither."""
    truth = rng.choice(np.array([0, 4, 7, 9, 11, 26], np.uint8), (2, 30, 20))
    return [(one, noisy(rng, one, np.array([7, 11, 26, 28, 23], np.uint8), 0.3)) for one in truth]


def never_predicted(rng: np.random.Generator) -> list[tuple[Array, Array]]:
    truth = rng.integers(0, 34, (2, 40, 50), dtype=np.uint8)
    return [(one, noisy(rng, one, WITHOUT_CARS, 0.2)) for one in truth]


def one_image_all_void(rng: np.random.Generator) -> list[tuple[Array, Array]]:
    void = rng.integers(0, 7, (40, 50), dtype=np.uint8)
    return [(void, rng.choice(SCORED_IDS, void.shape)), *any_label(rng)]


def wrong_on_void_only(rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """False positives of every class, all of them on labels that are not scored, such as parking and caravans."""
    truth = rng.integers(0, 34, (60, 60), dtype=np.uint8)
    return [(truth, noisy(rng, truth, SCORED_IDS, 0.0))]


def one_class_for_all(rng: np.random.Generator) -> list[tuple[Array, Array]]:
    truth = rng.integers(0, 34, (20, 20), dtype=np.uint8)
    return [(truth, np.full_like(truth, 7))]


MAPS = [any_label, absent_classes, never_predicted, one_image_all_void, wrong_on_void_only, one_class_for_all]


# --- Cityscapes --------------------------------------------------------------------------------------------------


def official_cityscapes(folder: Path, maps: Sequence[tuple[Array, Array]]) -> dict[str, object]:
    """What cityscapesScripts' evaluation writes as its result, for maps of ids."""
    arguments = copy.copy(args)
    arguments.evalInstLevelScore = arguments.JSONOutput = False
    arguments.quiet = True
    files: dict[str, list[str]] = {"truth": [], "prediction": []}
    for number, pair in enumerate(maps):
        for kind, ids in zip(files, pair, strict=True):
            files[kind].append(str(folder / f"{kind}_{number}.png"))
            Image.fromarray(ids).save(files[kind][-1])
    result: dict[str, object] = evaluateImgLists(files["prediction"], files["truth"], arguments)
    return result


def labels_of(folder: Path, maps: Sequence[tuple[Array, Array]], classes: str) -> list[Array]:
    """The truth of every map as the dataset reads it from a file."""
    for number, (ids, _) in enumerate(maps):
        name = f"ulm/ulm_{number:06}_000019"
        for below, image in (("leftImg8bit/val", np.zeros((*ids.shape, 3), np.uint8)), ("gtFine/val", ids)):
            path = folder / below / f"{name}_{'leftImg8bit' if image.ndim == 3 else 'gtFine_labelIds'}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    options = cityscapes.Options.model_validate({"root": str(folder), "classes": classes})
    return [sample.read().label for sample in cityscapes.build(options).splits["val"]]


def ours(truth: Sequence[Array], prediction: Sequence[Array], classes: Sequence[str]) -> dict[str, float]:
    metric = metrics.ConfusionMatrix(len(classes))
    for true, predicted in zip(truth, prediction, strict=True):
        metric.update(torch.from_numpy(predicted), torch.from_numpy(true))
    return metrics.scores(metric.compute(), classes)


def class_of(ids: Array, of: Mapping[int, int]) -> Array:
    table = np.full(256, VOID, np.uint8)
    table[list(of)] = list(of.values())
    return np.asarray(table[ids])


def check_classes(folder: Path, maps: Sequence[tuple[Array, Array]]) -> None:
    theirs = official_cityscapes(folder, maps)
    train_ids = {int(id_): index for index, id_ in enumerate(SCORED_IDS)}
    classes = [id2label[id_].name for id_ in train_ids]
    predicted = [class_of(prediction, train_ids) for _, prediction in maps]
    agree(ours(labels_of(folder, maps, "trainable"), predicted, classes), theirs, "Classes", "class")


def check_categories(folder: Path, maps: Sequence[tuple[Array, Array]]) -> None:
    theirs = official_cityscapes(folder, maps)
    members = {label.id: i for i, name in enumerate(CATEGORIES) for label in category2labels[name] if label.id >= 0}
    predicted = [class_of(prediction, members) for _, prediction in maps]
    agree(ours(labels_of(folder, maps, "categories"), predicted, CATEGORIES), theirs, "Categories", "category")


def agree(found: Mapping[str, float], theirs: Mapping[str, object], plural: str, noun: str) -> None:
    per_class = theirs[f"{noun}Scores"]
    assert isinstance(per_class, dict)
    ious = {name.removeprefix("val_iou/"): iou for name, iou in found.items() if name.startswith("val_iou/")}
    assert len(ious) == {"class": 19, "category": 7}[noun]
    assert ious == pytest.approx({name: per_class[name] for name in ious}, abs=1e-9, rel=0, nan_ok=True)
    assert found["val_miou"] == pytest.approx(theirs[f"averageScore{plural}"], abs=1e-9, rel=0)


@pytest.mark.parametrize("check", [check_classes, check_categories])
@pytest.mark.parametrize("maps", MAPS)
def test_made_maps_have_the_official_cityscapes_scores(
    tmp_path: Path,
    maps: Callable[[np.random.Generator], list[tuple[Array, Array]]],
    check: Callable[[Path, Sequence[tuple[Array, Array]]], None],
) -> None:
    check(tmp_path, maps(np.random.default_rng(0)))


@pytest.mark.parametrize("check", [check_classes, check_categories])
def test_real_frames_have_the_official_cityscapes_scores(
    data_root: Path, tmp_path: Path, check: Callable[[Path, Sequence[tuple[Array, Array]]], None]
) -> None:
    masks = sorted((data_root / "cityscapes_sample").glob("gtFine/val/*/*_labelIds.png"))
    if not masks:
        pytest.skip(f"no {data_root / 'cityscapes_sample'}")
    rng = np.random.default_rng(1)
    truth = [np.array(Image.open(mask))[::2, ::2] for mask in masks]
    check(tmp_path, [(one, noisy(rng, one, SCORED_IDS, share)) for one, share in zip(truth, (0, 0.3, 1), strict=True)])


def test_where_all_is_void_neither_has_a_score(tmp_path: Path) -> None:
    void = np.random.default_rng(2).integers(0, 7, (8, 8), dtype=np.uint8)
    maps = [(void, np.full_like(void, 7))]
    official = official_cityscapes(tmp_path, maps)["averageScoreClasses"]
    assert isinstance(official, float)
    assert math.isnan(official)
    (label,) = labels_of(tmp_path, maps, "trainable")
    with pytest.raises(ValueError, match="everything is void"):
        ours([label], [np.zeros_like(void)], [str(number) for number in range(19)])


# --- BDD100K drivable --------------------------------------------------------------------------------------------


def two_class(pairs: Counter[tuple[int, int]]) -> dict[int, float]:
    """evaluate_drivable of the bdd100k toolkit, pixel counts (truth, prediction) in: the IoU of what is in truth."""
    ious = {}
    for one in (0, 1):
        hits = pairs[one, one]
        misses = sum(pairs[one, other] for other in (0, 1, 2) if other != one)
        false_alarms = pairs[1 - one, one]  # on truth of background, 2, they are not counted
        if hits + misses:
            ious[one] = hits / (hits + misses + false_alarms)
    return ious


def three_class(pairs: Counter[tuple[int, int]]) -> dict[int, float]:
    ious = {}
    for one in (0, 1, 2):
        hits = pairs[one, one]
        wrong = sum(pairs[one, other] + pairs[other, one] for other in (0, 1, 2) if other != one)
        if hits + wrong:
            ious[one] = hits / (hits + wrong)
    return ious


def check_drivable(maps: Sequence[tuple[Array, Array]]) -> None:
    metric, pairs = metrics.ConfusionMatrix(3), Counter[tuple[int, int]]()
    for truth, prediction in maps:
        metric.update(torch.from_numpy(prediction), torch.from_numpy(truth))
        pairs.update(zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True))
    for score, definition in (("two_class", two_class), ("three_class", three_class)):
        card = bdd100k_drivable.describe(bdd100k_drivable.Options.model_validate({"score": score}))
        found = metrics.scores(metric.compute(), card.classes, scored=card.scored)
        expected = definition(pairs)
        assert found["val_miou"] == pytest.approx(sum(expected.values()) / len(expected), abs=1e-9, rel=0)
        ious = {index: found[f"val_iou/{name}"] for index, name in enumerate(card.classes)}
        assert ious == pytest.approx({**dict.fromkeys(range(3), math.nan), **expected}, abs=1e-9, rel=0, nan_ok=True)
        assert found["val_classes"] == len(expected)


@pytest.mark.parametrize(
    ("true", "predicted"),
    [
        ((0, 1, 2), (0, 1, 2)),
        ((0, 2), (0, 1, 2)),  # alternative is predicted and never true
        ((0, 1, 2), (2,)),  # nothing is found
        ((0, 1, 2), (0,)),  # everything is drivable
        ((1,), (0, 2)),
    ],
)
def test_made_maps_have_the_drivable_scores(true: tuple[int, ...], predicted: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    truth = rng.choice(np.array(true, np.uint8), (3, 20, 30))
    check_drivable([(one, noisy(rng, one, np.array(predicted, np.uint8), 0.4)) for one in truth])


def test_real_frames_have_the_drivable_scores(data_root: Path) -> None:
    root = data_root / "bdd100k_layout_from_camvid"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    samples = bdd100k_drivable.build(bdd100k_drivable.Options(root=str(root), encoding="maps_2018")).splits["val"][:3]
    rng = np.random.default_rng(4)
    truth = [sample.read().label for sample in samples]
    check_drivable([(one, noisy(rng, one, np.arange(3, dtype=np.uint8), 0.3)) for one in truth])
