"""Balanced class weights against their formulas, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from segsweep.trainables.class_weights import Balance, balanced_weights

FREQUENCIES = torch.tensor([0.64, 0.32, 0.04, 0.0], dtype=torch.float64)  # the last class has no pixel

RAW: dict[Balance, tuple[float, float, float]] = {
    "inverse_sqrt": (1 / 0.8, 1 / math.sqrt(0.32), 1 / 0.2),
    "median_frequency": (0.5, 1.0, 8.0),
    "enet": (1 / math.log(1.66), 1 / math.log(1.34), 1 / math.log(1.06)),
    "effective_number": tuple(0.001 / (1 - 0.999**n) for n in (6400, 3200, 400)),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("balance", RAW)
def test_weights_follow_the_formula_and_weigh_one_on_average(balance: Balance) -> None:
    weights = balanced_weights(FREQUENCIES, balance, cap=1e6).numpy()
    np.testing.assert_allclose(weights[:3] / weights[0], np.array(RAW[balance]) / RAW[balance][0], rtol=1e-12)
    assert (FREQUENCIES.numpy() * weights).sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("balance", RAW)
def test_no_class_weighs_more_than_the_cap_times_the_lightest(balance: Balance) -> None:
    rare = torch.tensor([0.9, 0.0999, 0.0001], dtype=torch.float64)
    weights = balanced_weights(rare, balance, cap=5.0)
    assert weights.max() / weights.min() == pytest.approx(5.0)
    assert balanced_weights(rare, balance, cap=1.0).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("balance", RAW)
def test_class_without_a_pixel_weighs_as_much_as_the_heaviest_and_stays_finite(balance: Balance) -> None:
    weights = balanced_weights(FREQUENCIES, balance, cap=10.0)
    assert torch.isfinite(weights).all()
    assert weights[3] == weights.max()
    assert weights[3] <= 10 * weights.min()


def test_effective_number_lies_between_equal_weights_and_the_inverse_frequency() -> None:
    weights = balanced_weights(torch.tensor([0.5, 0.4989, 0.001, 0.0001], dtype=torch.float64), "effective_number", 1e9)
    assert weights[1] / weights[0] == pytest.approx(1, abs=0.01)  # both are seen often enough
    assert weights[3] / weights[2] == pytest.approx(10, rel=0.01)  # both are rare
