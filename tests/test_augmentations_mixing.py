"""Parts of one image pasted into another of its batch, pixels and labels together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from segsweep.trainables.augmentations import light
from segsweep.trainables.augmentations._mixing import MixingOptions, half_of_the_classes, mixed, rectangle
from segsweep.trainables.components import VOID, BatchAugmentation, Pair

SIZE = (24, 32)
CUTMIX, CLASSMIX = MixingOptions(cutmix=1), MixingOptions(classmix=1)


def plain(value: int) -> Pair:
    """One class, and one colour that is ten times the class."""
    return Pair(np.full((*SIZE, 3), 10 * value, np.uint8), np.full(SIZE, value, np.uint8))


def bounds(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def test_cutmix_pastes_pixels_and_labels_of_one_box() -> None:
    batch = [plain(value) for value in (1, 2, 3)]
    pasted = 0
    for seed in range(30):
        outs = mixed(CUTMIX, batch, seed)
        for own, out in enumerate(outs, start=1):
            assert np.array_equal(out.image, np.repeat(10 * out.label[..., None], 3, axis=2))
            foreign = out.label != own
            if foreign.any():
                assert foreign[bounds(foreign)].all()  # a rectangle
                assert len(np.unique(out.label[foreign])) == 1  # of one other image
                pasted += 1
    assert pasted > 60


def test_every_image_gives_to_one_other_and_takes_what_was_not_mixed() -> None:
    batch = [plain(value) for value in (1, 2, 3, 4)]
    for seed in range(20):
        outs = mixed(CUTMIX, batch, seed)
        assert all(set(np.unique(out.label)) <= {own, *range(1, 5)} for own, out in enumerate(outs, start=1))
        givers = [set(np.unique(out.label)) - {own} for own, out in enumerate(outs, start=1)]
        assert all(len(giver) <= 1 for giver in givers)
        known = [value for giver in givers for value in giver]
        assert len(set(known)) == len(known)


def test_boxes_have_the_share_of_the_paper_before_the_border_cuts_them() -> None:
    """u, the share, is uniform; of a side sqrt(u) around a uniform centre, u / 4 lies outside the image on average.

    So the mean is E[u (1 - sqrt(u) / 4)^2] = 1/2 - (1/2)(2/5) + (1/16)(1/3) = 0.3208.
    """
    rng = np.random.default_rng(0)
    shares = [rectangle((200, 300), rng).mean() for _ in range(1000)]
    assert np.mean(shares) == pytest.approx(0.3208, abs=0.02)


def test_classmix_pastes_whole_classes() -> None:
    quarters = plain(0)
    quarters.label[:] = np.repeat(np.repeat([[5, 6], [7, VOID]], 12, axis=0), 16, axis=1)
    quarters.image[:] = 10 * np.minimum(quarters.label, 25)[..., None]
    for seed in range(10):
        out = mixed(CLASSMIX, [plain(1), quarters], seed)[0]
        pasted = set(np.unique(out.label)) - {1}
        assert len(pasted) == 1  # half of three classes, rounded down; void is none
        assert pasted <= {5, 6, 7}
        assert np.array_equal(out.label == next(iter(pasted)), quarters.label == next(iter(pasted)))
        assert np.array_equal(out.image[..., 0], 10 * out.label)


def test_the_only_class_of_an_image_is_not_pasted() -> None:
    assert not half_of_the_classes(plain(3).label, np.random.default_rng(0)).any()


def test_a_batch_of_one_and_a_probability_of_zero_mix_nothing() -> None:
    one, batch = [plain(1)], [plain(1), plain(2)]
    assert mixed(CUTMIX, one, 0) is one
    assert mixed(MixingOptions(), batch, 0) is batch


def test_half_of_the_images_are_mixed_at_a_probability_of_a_half() -> None:
    batch = [plain(value) for value in range(1, 9)]
    outs = [mixed(MixingOptions(cutmix=0.5), batch, seed) for seed in range(50)]
    changed = [not np.array_equal(a.label, b.label) for out in outs for a, b in zip(out, batch, strict=True)]
    assert 0.4 < np.mean(changed) < 0.55  # a few boxes are empty


def test_mixing_follows_the_seed_and_leaves_its_input_alone() -> None:
    augment = light.build(light.Options(cutmix=1, classmix=0.5), SIZE)
    assert isinstance(augment, BatchAugmentation)
    batch = [plain(value) for value in (1, 2, 3)]
    first, second, other = augment.mix(batch, 4), augment.mix(batch, 4), augment.mix(batch, 5)
    assert all(np.array_equal(a.label, b.label) for a, b in zip(first, second, strict=True))
    assert any(not np.array_equal(a.label, b.label) for a, b in zip(first, other, strict=True))
    assert all(np.array_equal(pair.label, plain(value).label) for value, pair in enumerate(batch, start=1))
