"""What augmentations do to images and labels together."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from segsweep.trainables.augmentations import light, none, standard, strong
from segsweep.trainables.augmentations._framing import Framing
from segsweep.trainables.catalog import AUGMENTATIONS
from segsweep.trainables.components import VOID, Augmentation, Pair
from segsweep.trainables.datasets import streets

SIZE = (48, 64)


def street() -> Pair:
    return streets.draw(streets.Options(size=SIZE), "train", 0)


def halves(left: int = 1, right: int = 2) -> Pair:
    """Two classes side by side; the image shows the class, times 100."""
    label = np.full(SIZE, left, np.uint8)
    label[:, SIZE[1] // 2 :] = right
    return Pair(np.repeat(label[..., None] * 100, 3, axis=2), label)


def built(name: str) -> Augmentation:
    """With its defaults, and an example of what has none."""
    component = AUGMENTATIONS.get(name)
    fields = component.Options.model_fields
    given = {key: fields[key].examples[0] for key in fields if fields[key].is_required()}  # type: ignore[index]
    return component.build(component.Options.model_validate(given), SIZE)


def same(a: Pair, b: Pair) -> bool:
    return np.array_equal(a.image, b.image) and np.array_equal(a.label, b.label)


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
@pytest.mark.parametrize("given", [SIZE, (30, 90), (96, 40), (200, 200)])
def test_every_augmentation_gives_the_image_size_and_known_labels(name: str, given: tuple[int, int]) -> None:
    pair = streets.draw(streets.Options(size=given), "train", 1) if min(given) >= 32 else halves()
    for seed in range(5):
        out = built(name)(pair, seed)
        assert out.image.shape == (*SIZE, 3)
        assert out.label.shape == SIZE
        assert out.image.dtype == out.label.dtype == np.uint8
        assert set(np.unique(out.label)) <= {*np.unique(pair.label), VOID}


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_every_augmentation_follows_the_seed_alone(name: str) -> None:
    augment = built(name)
    first = [augment(street(), seed) for seed in range(4)]
    np.random.seed(7)  # whatever else the process draws
    copy = pickle.loads(pickle.dumps(augment))  # as a loader's worker gets it
    assert all(same(copy(street(), seed), first[seed]) for seed in (3, 1, 2, 0))


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_every_augmentation_leaves_its_input_alone(name: str) -> None:
    pair, before = street(), street()
    built(name)(pair, 1)
    assert same(pair, before)


def test_none_gives_back_the_same_pixels() -> None:
    assert same(none.build(none.Options(), SIZE)(street(), 5), street())


def test_light_takes_read_only_images_as_the_cache_has_them() -> None:
    pair = street()
    pair.image.flags.writeable = pair.label.flags.writeable = False
    assert light.build(light.Options(), SIZE)(pair, 0).image.shape == (*SIZE, 3)


def test_light_differs_from_seed_to_seed() -> None:
    augment = light.build(light.Options(), SIZE)
    assert len({augment(street(), seed).image.tobytes() for seed in range(20)}) == 20


def test_what_is_padded_is_void_and_never_a_class() -> None:
    augment = light.build(light.Options(scale_min=0.5, scale_max=0.5, jitter=0), SIZE)
    pair = halves(3, 3)
    out = augment(Pair(np.full((*SIZE, 3), 200, np.uint8), pair.label), 0)
    assert set(np.unique(out.label)) == {3, VOID}
    assert (out.label == VOID).mean() == 0.75
    assert np.all((out.image[..., 0] == 0) == (out.label == VOID))


def test_flips_turn_image_and_label_together() -> None:
    augment = light.build(light.Options(flip=1, scale_min=1, scale_max=1, jitter=0), SIZE)
    assert same(augment(halves(1, 2), 0), halves(2, 1))


def test_scaled_labels_stay_on_their_image() -> None:
    """Plain nearest-neighbour scaling moves labels against images by nearly half a pixel, 0.46 on average here."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    label = (np.hypot(y - 23.5, x - 31.5) < 14).astype(np.uint8)
    augment = light.build(light.Options(jitter=0), SIZE)
    shifts = []
    for seed in range(30):
        out = augment(Pair(np.repeat(label[..., None] * 200, 3, axis=2), label), seed)
        shown, labelled = out.image[..., 0] >= 100, out.label == 1
        assert (shown & labelled).sum() / (shown | labelled).sum() > 0.9
        shifts.append(np.abs(_center(shown) - _center(labelled)).max())
    assert np.mean(shifts) < 0.15


def _center(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    return np.argwhere(mask).mean(0)


def test_scales_fill_the_range_and_flips_half_of_the_time_independently() -> None:
    """Given one seed, albumentations draws the same first number for every transform; flips would follow the scale."""
    augment = light.build(light.Options(scale_min=0.5, scale_max=1, jitter=0), SIZE)
    outs = [augment(halves(1, 2), seed).label for seed in range(400)]
    scales = np.array([np.sqrt((out != VOID).mean()) for out in outs])
    flipped = np.array([out[out != VOID][0] == 2 for out in outs])
    assert scales.min() < 0.52
    assert scales.max() > 0.98
    assert 0.4 < flipped.mean() < 0.6
    assert abs(np.corrcoef(scales, flipped)[0, 1]) < 0.2


def test_jitter_changes_colours_mildly_and_no_label() -> None:
    augment = light.build(light.Options(flip=0, scale_min=1, scale_max=1), SIZE)
    out, pair = augment(street(), 3), street()
    assert np.array_equal(out.label, pair.label)
    difference = np.abs(out.image.astype(int) - pair.image).mean()
    assert 1 < difference < 60


# --- crops that show more than one class ---------------------------------------------------------------------------


def stripe(columns: int) -> Pair:
    """Class 1 of 8 x 64 pixels with `columns` columns of class 2 at the right end; the image says where a pixel was."""
    label = np.ones((8, 64), np.uint8)
    label[:, 64 - columns :] = 2
    return Pair(np.repeat(np.tile(np.arange(64, dtype=np.uint8), (8, 1))[..., None], 3, axis=2), label)


def starts(cat_max_ratio: float, columns: int = 16) -> list[int]:
    """At which column crops of 8 x 16 begin."""
    framing = Framing((8, 16), cat_max_ratio=cat_max_ratio)
    return [int(framing(stripe(columns), seed).image[0, 0, 0]) for seed in range(300)]


def test_crops_with_too_much_of_one_class_are_avoided() -> None:
    """A crop that begins at column s has s - 32 columns of class 2 among its 16; at most 3/4 of a class means 4 to 12.

    Of the 49 starts 9 will do, so that all ten tries miss in (40/49)^10 = 13 % of the cases.
    """
    fit = [36 <= start <= 44 for start in starts(0.75)]
    assert 0.82 < np.mean(fit) < 0.92
    assert 0.12 < np.mean([36 <= start <= 44 for start in starts(1.0)]) < 0.26  # 9/49 = 18 % at random


def test_void_has_no_part_in_the_share_of_a_class() -> None:
    """Half of the crop is class 1, half void: class 1 is all that is labelled."""
    pair = stripe(16)
    pair.label[pair.label == 2] = VOID
    framing = Framing((8, 16), cat_max_ratio=0.75)
    chosen = {int(framing(pair, seed).image[0, 0, 0]) for seed in range(100)}
    assert min(chosen) < 8  # no crop fits: the last try is taken, wherever it is
    assert max(chosen) > 40


def test_a_whole_image_of_one_class_is_taken_as_it_is() -> None:
    framing = Framing((8, 64), cat_max_ratio=0.5)
    assert same(framing(stripe(0), 0), stripe(0))


# --- presets -------------------------------------------------------------------------------------------------------


def test_strong_makes_void_of_what_it_rotates_in_or_blanks_out() -> None:
    options = strong.Options(scale_min=1, scale_max=1, photometric=0, blur=0, noise=0, dropout=1, rotate=30)
    augment = strong.build(options, SIZE)
    white = Pair(np.full((*SIZE, 3), 255, np.uint8), np.full(SIZE, 3, np.uint8))
    for seed in range(20):
        out = augment(white, seed)
        assert set(np.unique(out.label)) == {3, VOID}
        assert (out.label[~out.image.any(-1)] == VOID).all()
        assert (out.image[out.label == VOID] < 255).all()


def test_strength_0_of_everything_leaves_an_image_as_it_is() -> None:
    still = {"flip": 0, "scale_min": 1, "scale_max": 1, "photometric": 0}
    for augment in (
        standard.build(standard.Options.model_validate(still), SIZE),
        strong.build(strong.Options.model_validate({**still, "rotate": 0, "blur": 0, "noise": 0, "dropout": 0}), SIZE),
    ):
        assert all(same(augment(street(), seed), street()) for seed in range(5))


def test_photometric_distortion_has_the_recipes_bounds() -> None:
    """Brightness by up to 32 of 255 and contrast by 0.5 to 1.5, each half of the time, on a grey image of 100.

    At most (100 + 32) * 1.5 = 198 and at least (100 - 32) * 0.5 = 34; a quarter stays as it is (hue and saturation of a
    grey have no effect).
    """
    augment = standard.build(standard.Options(flip=0, scale_min=1, scale_max=1), SIZE)
    grey = Pair(np.full((*SIZE, 3), 100, np.uint8), np.zeros(SIZE, np.uint8))
    values = np.array([int(augment(grey, seed).image[0, 0, 0]) for seed in range(400)])
    assert 34 <= values.min() < 60
    assert 165 < values.max() <= 198
    assert 0.18 < (values == 100).mean() < 0.33


@pytest.mark.parametrize(
    "given",
    [
        {"flip": 1.5},
        {"cutmix": 2},
        {"cat_max_ratio": 0},
        {"mixup": 0.5},
        {"scale_min": 0},
        {"scale_max": 50},
        {"jitter": 1},
        {"scale_min": 2, "scale_max": 1},
        {"rotate": 5},
    ],
)
def test_options_out_of_bounds_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        light.Options.model_validate(given)


def test_building_light_asks_nothing_of_the_network() -> None:
    code = (
        "import sys; seen = []\n"
        "sys.addaudithook(lambda event, _: seen.append(event) if event[:8] in ('socket.c', 'socket.g') else None)\n"
        "from segsweep.trainables.augmentations import light\n"
        "light.build(light.Options(), (32, 32)); print(seen)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
