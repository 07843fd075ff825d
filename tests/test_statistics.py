"""Intervals, paired tests and ties, against numbers worked out by hand, scipy, and simulated leaderboards."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import t, ttest_ind
from simulated_rows import World, coverage, false_alarms

from segsweep.orchestrator.statistics.comparisons import (
    Difference,
    differences,
    holm,
    needed,
    ranks,
)
from segsweep.orchestrator.statistics.counts import Counts, blocks, counted, score
from segsweep.orchestrator.statistics.intervals import (
    Part,
    half_width,
    interval,
    of_images,
    of_seeds,
    resampled,
    resampled_mean,
)
from segsweep.trainables.scoring.confusions import Confusions, sparse
from segsweep.trainables.scoring.metrics import scores

MATRICES = np.random.default_rng(0).integers(0, 50, (6, 4, 4))
MATRICES[:, 3] = 0  # never in truth
ALL_ALIKE = np.zeros(1, np.intp)


def confusions(scored: tuple[int, ...] | None = None) -> Confusions:
    ids = tuple(map(str, range(len(MATRICES))))
    return Confusions(ids, ("a", "b", "c", "d"), 1, tuple(map(sparse, MATRICES)), (), scored)


def same(iou: float, images: int = 10) -> Counts:
    """One class, as good on every image."""
    return Counts(np.full((images, 1), 100 * iou), np.full((images, 1), 100.0))


@pytest.mark.parametrize("scored", [None, (0, 1), (1, 3)])
def test_counts_give_the_scores_of_the_split(scored: tuple[int, ...] | None) -> None:
    given = counted(confusions(scored))
    expected = scores(torch.from_numpy(MATRICES.sum(0)), ("a", "b", "c", "d"), scored=scored)
    for name in ("miou", "dice"):
        found = score(given.hits.sum(0), given.unions.sum(0), name)
        assert float(found) == pytest.approx(expected[f"val_{name}"], abs=1e-12)


def test_classes_that_no_resample_shows_are_left_out_of_its_mean() -> None:
    hits, unions = np.array([[5.0, 0.0], [0.0, 0.0]]), np.array([[10.0, 0.0], [0.0, 0.0]])
    np.testing.assert_equal(score(hits, unions, "miou"), [0.5, math.nan])


def test_images_without_a_group_are_their_own_blocks() -> None:
    assert blocks(("", ""), 2).tolist() == blocks((), 2).tolist() == [0, 1]


def test_many_groups_are_drawn_as_wholes() -> None:
    assert blocks([str(number // 3) for number in range(30)], 30).tolist() == [number // 3 for number in range(30)]


def test_few_groups_are_drawn_in_runs_of_neighbours() -> None:
    block = blocks(["a"] * 20 + ["b"] * 7, 27)  # 27^(1/3) = 3 frames
    assert block.tolist() == [n // 3 for n in range(20)] + [7 + n // 3 for n in range(7)]


def test_resamples_draw_as_many_blocks_as_there_are() -> None:
    weights = resampled(np.array([0, 0, 1, 2]), resamples=50)
    assert (weights[:, [0, 2, 3]].sum(1) == 3).all()
    assert (weights[:, 0] == weights[:, 1]).all()


def test_noise_of_images_is_the_standard_error_of_their_mean() -> None:
    """With one class and unions of one size, mIoU is a plain mean."""
    each = np.random.default_rng(1).random((200, 1))
    counts = Counts(each, np.ones((200, 1)))
    part = of_images(resampled_mean([counts], resampled(np.arange(200), 5000), "miou"), 200)
    assert math.sqrt(part.variance) == pytest.approx(each.std(ddof=1) / math.sqrt(200), rel=0.05)


def test_noise_of_seeds_alone_gives_students_interval() -> None:
    """On images that are all alike. By hand: mean 0.6, s.d. 0.1, 0.1 / sqrt(3) * 4.303 = 0.2484."""
    found = interval([same(0.5), same(0.6), same(0.7)], np.arange(10), "miou")
    assert found == pytest.approx((0.6, 0.6 - 0.2484, 0.6 + 0.2484), abs=1e-4)


def test_one_seed_says_nothing_of_seeds() -> None:
    assert of_seeds(np.array([0.5])) is None
    assert interval([same(0.5)], np.arange(10), "miou") == (0.5, 0.5, 0.5)


def test_parts_add_in_squares() -> None:
    wide = half_width([Part(0.0009, 10), Part(0.0016, 2)], 0.95)
    assert wide == pytest.approx(math.hypot(0.03 * t.ppf(0.975, 10), 0.04 * t.ppf(0.975, 2)))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_difference_of_seeds_alone_is_welchs_test() -> None:
    a, b = [0.50, 0.52, 0.56], [0.60, 0.61, 0.63, 0.62]
    (found,) = differences({"a": list(map(same, a)), "b": list(map(same, b))}, np.arange(10), "miou").values()
    assert found.p == pytest.approx(ttest_ind(a, b, equal_var=False).pvalue, rel=1e-4)


def test_a_single_seed_is_never_better() -> None:
    (found,) = differences({"a": [same(0.2)], "b": [same(0.9)]}, np.arange(10), "miou").values()
    assert not found.real
    assert needed(found, 10) == (None, None)


def test_ranks_are_ranges_where_rows_are_tied() -> None:
    def pair(value: float, p: float) -> Difference:
        return Difference(value, Part(0, 9), Part(0, 4), 3, p)

    pairs = {("a", "b"): pair(0.01, 0.5), ("a", "c"): pair(0.2, 0.01), ("b", "c"): pair(0.19, 0.02)}
    assert ranks("abc", pairs) == {"a": range(1, 3), "b": range(1, 3), "c": range(3, 4)}
    assert ranks("abc", pairs, sign=-1) == {"a": range(2, 4), "b": range(2, 4), "c": range(1, 2)}


def test_as_many_seeds_as_needed_tell_rows_apart_and_one_fewer_do_not() -> None:
    tied = Difference(0.02, Part(0.0, 99), Part(0.0004, 4), 3)
    found = needed(tied, 100).seeds
    assert found is not None

    def wide(seeds: int) -> float:
        return half_width([Part(0.0004 * 3 / seeds, 2 * (seeds - 1))])

    assert wide(found) < 0.02 <= wide(found - 1)


def test_images_are_needed_where_they_are_the_noise() -> None:
    """By hand: four times as many images halve their half-width, from 0.04 to 0.02."""
    tied = Difference(0.02, Part(0.04**2 / t.ppf(0.975, 99) ** 2, 99), Part(0.0, 4), 3)
    assert needed(tied, 100) == (None, 400)


def test_seeds_cannot_help_where_images_are_the_noise_and_the_other_way_round() -> None:
    assert needed(Difference(0.02, Part(0.01, 99), Part(0.0001, 4), 3), 100).seeds is None
    assert needed(Difference(0.02, Part(0.0, 99), Part(0.01, 4), 3), 100).images is None


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("images", "seeds", "seed_sd"), [(500, 3, 0.15), (100, 5, 0.15), (100, 3, 0.5), (30, 3, 0.3)])
def test_intervals_cover_what_they_say(images: int, seeds: int, seed_sd: float) -> None:
    assert 0.93 <= coverage(World(seed_sd=seed_sd), images, seeds, runs=1000) <= 0.98


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("rows", [2, 4])
def test_equal_rows_are_seldom_called_better(rows: int) -> None:
    assert false_alarms(World(), rows, images=100, seeds=3, runs=600) <= 0.05 + 0.015  # its own noise
