"""Transforms of albumentations by name: labels stay on their image and stay labels."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import albumentations
import numpy as np
import numpy.typing as npt
import pytest

from segsweep.trainables.augmentations import albumentations as component
from segsweep.trainables.augmentations import strong
from segsweep.trainables.augmentations._notation import GROUPS, names, parsed
from segsweep.trainables.augmentations._pipeline import composed
from segsweep.trainables.augmentations._transforms import build
from segsweep.trainables.components import VOID, Pair
from segsweep.trainables.datasets import camvid

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "trainables/augmentations/transforms.json"
COLOURS = np.array([[60, 90, 200], [200, 60, 80], [80, 200, 60], [220, 210, 90]], np.uint8)  # of classes 0 to 3

CROP = {"height": 64, "width": 96}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "Affine": {"rotate": [-30, 30], "scale": [0.6, 1.5], "shear": [-10, 10]},
    "CenterCrop": CROP,
    "ConstrainedCoarseDropout": {"mask_indices": [1, 2]},
    "Crop": {"x_min": 10, "y_min": 20, "x_max": 100, "y_max": 80},
    "CropAndPad": {"percent": [-0.2, 0.2]},
    "CropNonEmptyMaskIfExists": CROP,
    "ElasticTransform": {"alpha": 120, "sigma": 8},
    "LongestMaxSize": {"max_size": 100},
    "Pad": {"padding": 12},
    "PadIfNeeded": {"min_height": 120, "min_width": 150},
    "RandomCrop": CROP,
    "RandomResizedCrop": {"size": [64, 96]},
    "RandomSizedCrop": {"min_max_height": [40, 80], "size": [64, 96]},
    "Resize": {"height": 60, "width": 200},
    "SmallestMaxSize": {"max_size": 70},
    "Superpixels": {"p_replace": 1},
    "XYMasking": {"num_masks_x": 2, "mask_x_length": 10},
}
"""What a transform needs, or changes nothing without."""

pytestmark = pytest.mark.filterwarnings("ignore:This augmenter is very slow")  # which PiecewiseAffine says of itself

SLOW = ("PiecewiseAffine", "Superpixels")
RAGGED = ("Emboss", "GlassBlur")  # these move edges by up to a pixel, to the side of the light or anywhere
SPECKLED = "PixelDropout"  # single black pixels, whose labels remain

EVERY = [{name: {"p": 1, **ARGUMENTS.get(name, {})}} for name in names() if name not in GROUPS]
VARIANTS = [
    {"Affine": {"rotate": 30, "fit_output": True, "p": 1}},
    {"Affine": {"translate_percent": [0.2, 0.3], "border_mode": "BORDER_REFLECT_101", "p": 1}},
    {"CropAndPad": {"px": [-10, 20], "keep_size": False, "p": 1}},
    {"ElasticTransform": {"alpha": 120, "sigma": 8, "border_mode": "BORDER_CONSTANT", "p": 1}},
    {"GridDropout": {"fill": "random", "p": 1}},
    {"Perspective": {"keep_size": False, "fit_output": True, "p": 1}},
    {"RandomCrop": {"height": 120, "width": 150, "pad_if_needed": True, "p": 1}},
    {"RandomScale": {"scale_limit": [-0.6, -0.4], "interpolation": "INTER_AREA", "p": 1}},
    {"Resize": {"height": 40, "width": 50, "p": 1}},
    {"Rotate": {"limit": 40, "crop_border": True, "p": 1}},
]


def coded() -> Pair:
    """A disc, a rectangle and a corner before the ground; every class is its colour, none of them dark."""
    y, x = np.mgrid[:96, :128]
    label = np.zeros((96, 128), np.uint8)
    label[(y - 30) ** 2 + (x - 40) ** 2 < 22**2] = 1
    label[60:90, 70:120] = 2
    label[(x > 90) & (y < 40)] = 3
    return Pair(COLOURS[label], label)


def same(a: Pair, b: Pair) -> bool:
    return np.array_equal(a.image, b.image) and np.array_equal(a.label, b.label)


def applied(transform: Any, pair: Pair, seed: int) -> Pair:
    return composed(build(parsed([transform])))(pair, seed)


def shift(pairs: list[Pair]) -> tuple[int, int]:
    """How far images lie from their labels, up or down or to a side: where labels explain most of the colours."""
    shifts = ((0, 0), *((d, 0) for d in (-2, -1, 1, 2)), *((0, d) for d in (-2, -1, 1, 2)))
    explained = {(dy, dx): sum(_explained(pair, dy, dx) for pair in pairs) for dy, dx in shifts}
    return max(explained, key=explained.__getitem__)


def _explained(pair: Pair, dy: int, dx: int) -> float:
    h, w = pair.label.shape
    label = pair.label[2 : h - 2, 2 : w - 2]
    image = pair.image[2 + dy : h - 2 + dy, 2 + dx : w - 2 + dx].astype(np.float32)
    parts = [image[label == c] for c in range(4) if (label == c).any()]
    total, within = np.concatenate(parts).var(0).sum(), sum(len(part) * part.var(0).sum() for part in parts)
    return float(1 - within / sum(map(len, parts)) / total) if total else 0.0


def wrong_pixels(pair: Pair) -> float:
    """The share of labelled pixels whose colour is nearer to another class's."""
    distance = ((pair.image[..., None, :].astype(int) - COLOURS) ** 2).sum(-1)
    wrong: npt.NDArray[np.bool_] = (distance.argmin(-1) != pair.label)[pair.label != VOID]
    return float(wrong.mean())


def test_the_shift_of_a_shifted_image_is_seen() -> None:
    pair = coded()
    assert shift([pair]) == (0, 0)
    assert shift([Pair(np.roll(pair.image, 2, axis=0), pair.label)]) == (2, 0)
    assert shift([Pair(np.roll(pair.image, -1, axis=1), pair.label)]) == (0, -1)


@pytest.mark.parametrize("transform", [*EVERY, *VARIANTS], ids=lambda it: "-".join([*it, *map(str, *it.values())]))
def test_every_transform_keeps_labels_on_their_image_and_labels(transform: dict[str, dict[str, Any]]) -> None:
    (name,) = transform
    pair = coded()
    apply = composed(build(parsed([transform])))
    outs = [apply(coded(), seed) for seed in range(2 if name in SLOW else 5)]
    assert not all(same(out, pair) for out in outs), "changes nothing, so that this test shows nothing"
    for out in outs:
        assert out.image.shape == (*out.label.shape, 3)
        assert out.image.dtype == out.label.dtype == np.uint8
        assert set(np.unique(out.label)) <= {0, 1, 2, 3, VOID}
    moved = shift(outs)
    assert max(map(abs, moved)) <= (name in RAGGED), moved
    if issubclass(getattr(albumentations, name), albumentations.DualTransform) and name != SPECKLED:
        assert max(wrong_pixels(out) for out in outs) < 0.04  # the edges, where colours are blended
        assert all((out.label[~out.image.any(-1)] == VOID).all() for out in outs)  # filled and still labelled
    else:
        assert all(np.array_equal(out.label, pair.label) for out in outs)


@pytest.mark.parametrize("transform", EVERY, ids=lambda it: next(iter(it)))
def test_every_transform_follows_the_seed_alone(transform: dict[str, dict[str, Any]]) -> None:
    apply = composed(build(parsed([transform])))
    first = apply(coded(), 3)
    np.random.seed(0)
    apply(coded(), 8)  # leaves nothing behind
    assert same(apply(coded(), 3), first)


def test_what_comes_in_from_outside_is_void() -> None:
    out = applied({"Pad": {"padding": [5, 7, 11, 13], "p": 1}}, coded(), 0)  # left, top, right, bottom
    assert out.label.shape == (96 + 7 + 13, 128 + 5 + 11)
    assert np.array_equal(out.label[7:-13, 5:-11], coded().label)
    assert (out.label == VOID).sum() == out.label.size - 96 * 128


def test_blanked_out_pixels_keep_their_labels_if_asked_to() -> None:
    given = {"num_holes_range": [3, 3], "fill": 0, "p": 1}
    out = applied({"CoarseDropout": {**given, "fill_mask": None}}, coded(), 0)
    assert not out.image.any(-1).all()
    assert np.array_equal(out.label, coded().label)


def test_groups_take_their_children_and_arguments() -> None:
    flips = [{"HorizontalFlip": {"p": 1}}, {"VerticalFlip": {"p": 1}}]
    pair = coded()
    either = {applied({"OneOf": flips}, pair, seed).label.tobytes() for seed in range(40)}
    assert either == {pair.label[:, ::-1].tobytes(), pair.label[::-1].tobytes(), pair.label.tobytes()}  # OneOf: p 0.5
    for group in ({"Sequential": {"transforms": flips, "p": 1}}, {"SomeOf": {"transforms": flips, "n": 2}}):
        assert np.array_equal(applied(group, pair, 0).label, pair.label[::-1, ::-1])


def test_real_labels_stay_on_their_pixels(data_root: Path) -> None:
    root = data_root / "camvid"
    if not root.is_dir():
        pytest.skip(f"no folder {root}")
    dataset = camvid.build(camvid.Options(root=str(root)))
    label = dataset.splits["train"][0].read().label
    code = (np.arange(256) * 20 % 256).astype(np.uint8)  # 11 classes, at least 20 apart
    image = np.repeat(code[label][..., None], 3, axis=2)
    geometry = ["HorizontalFlip", {"Affine": {"rotate": [-20, 20], "scale": [0.7, 1.4], "p": 1}}, "GridDistortion"]
    custom = component.build(component.Options.model_validate({"transforms": geometry}), (360, 480))
    preset = strong.build(strong.Options(photometric=0, blur=0, noise=0), (360, 480))
    for augment in (custom, preset):
        for seed in range(4):
            out = augment(Pair(image, label), seed)
            labelled = out.label != VOID
            difference = np.abs(out.image[..., 0].astype(int) - code[out.label])[labelled]
            assert labelled.mean() > 0.1
            assert (difference < 10).mean() > 0.9  # thin poles and edges are blended with what is beside them
            assert set(np.unique(out.label)) <= {*np.unique(label), VOID}


def test_the_committed_table_is_that_of_the_installed_library() -> None:
    script = runpy.run_path(str(ROOT / "benchmarks/list_transforms.py"))
    assert script["listing"]() == json.loads(TABLE.read_text())
