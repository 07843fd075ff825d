"""Every loss of the catalogue: the promises of MaskedLoss; and what single losses promise beside their formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.ndimage import distance_transform_edt

from segsweep.trainables.catalog import LOSSES
from segsweep.trainables.class_weights import WeightedOptions
from segsweep.trainables.components import VOID, LossContext, Outputs, Task
from segsweep.trainables.losses import (
    border_weighted_cross_entropy,
    cross_entropy,
    dice,
    focal,
    focal_tversky,
    ohem,
)
from segsweep.trainables.losses._distances import distances_to
from segsweep.trainables.losses.border_weighted_cross_entropy import border_weights
from segsweep.trainables.masked_loss import MaskedLoss, build_loss

C = 5
FREQUENCIES = torch.tensor([0.6, 0.3, 0.0999, 0.0001, 0.0], dtype=torch.float64)
CONTEXT = LossContext(num_classes=C, class_frequencies=lambda: FREQUENCIES)
SMALLEST: dict[str, dict[str, Any]] = {"sum": {"dice": 1.0, "cross_entropy": 1.0}}  # options that have no default
WEIGHTED = [name for name in LOSSES.names() if issubclass(LOSSES.get(name).Options, WeightedOptions)]
SPATIAL = {"border_weighted_cross_entropy", "boundary", "hausdorff_distance"}  # see where pixels are


def loss_of(name: str, **options: Any) -> MaskedLoss:
    component = LOSSES.get(name)
    return build_loss(component, component.Options(**{**SMALLEST.get(name, {}), **options}), CONTEXT)


def task(num_classes: int) -> Task:
    return Task(num_classes=num_classes, image_size=(64, 64), batch_size=2)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (2, 5, 7, 9) and uint8 labels of classes 0..2 with a third void; classes 3 and 4 are absent."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, C, 7, 9, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 7, 9), generator=generator)
    void = torch.rand(2, 7, 9, generator=generator) < 0.33
    return logits, labels.masked_fill(void, VOID).to(torch.uint8)


@pytest.mark.parametrize("name", LOSSES.names())
def test_gradient_at_void_pixels_is_exactly_zero(name: str, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    void = (labels == VOID)[:, None].expand_as(logits)
    logits = logits.masked_fill(void, float("inf")).requires_grad_()  # the worst that a network can say there
    loss_of(name)(logits, labels).backward()
    assert logits.grad is not None
    assert torch.all(logits.grad[void] == 0)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[~void].abs().sum() > 0


@pytest.mark.parametrize("name", LOSSES.names())
def test_what_is_predicted_at_void_pixels_does_not_change_the_loss(
    name: str, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    logits, labels = batch
    void = (labels == VOID)[:, None].expand_as(logits)
    assert loss_of(name)(logits, labels) == loss_of(name)(logits + 7 * torch.rand_like(logits) * void, labels)


@pytest.mark.parametrize("name", LOSSES.names())
def test_batch_without_a_labelled_pixel_costs_nothing_and_still_has_a_graph(name: str) -> None:
    logits = torch.randn(2, C, 4, 4, requires_grad=True)
    loss = loss_of(name)(logits, torch.full((2, 4, 4), VOID, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert torch.all(logits.grad == 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES.names())
def test_half_precision_logits_give_a_finite_float32_loss(name: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = (20 * torch.randn(1, C, 400, 400, generator=generator)).to(dtype).requires_grad_()  # sums beyond 65504
    labels = torch.randint(0, C, (1, 10, 10), generator=generator, dtype=torch.uint8)
    loss = loss_of(name)(logits, labels.repeat_interleave(40, 1).repeat_interleave(40, 2))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("name", LOSSES.names())
def test_labels_of_any_integer_type_give_the_same_loss(
    name: str, dtype: torch.dtype, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    logits, labels = batch
    assert loss_of(name)(logits, labels.to(dtype)) == loss_of(name)(logits, labels.long())


@pytest.mark.parametrize("name", LOSSES.names())
def test_right_answers_cost_less_than_wrong_ones(name: str, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    _, labels = batch
    right = 10 * torch.nn.functional.one_hot(labels.long().clamp(max=C - 1), C).movedim(-1, 1).float()
    assert loss_of(name)(right, labels) < 0.1 < loss_of(name)(-right, labels)


@pytest.mark.parametrize("name", LOSSES.names())
def test_single_image_of_a_single_pixel_gives_a_finite_gradient(name: str) -> None:
    logits = torch.randn(1, C, 1, 1, requires_grad=True)
    loss_of(name)(logits, torch.zeros(1, 1, 1, dtype=torch.uint8)).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("smooth", [{}, {"smooth": 0.0}])
@pytest.mark.parametrize("name", LOSSES.names())
def test_gradient_is_finite_where_the_network_is_certain(name: str, smooth: dict[str, float]) -> None:
    component = LOSSES.get(name)
    options = smooth if smooth.keys() <= component.Options.model_fields.keys() else {}
    logits = torch.zeros(1, C, 2, 4)
    logits[:, 0, :, :2], logits[:, 1, :, 2:] = 200.0, 200.0  # p = 1 in float32; right on the left, wrong on the right
    logits.requires_grad_()
    loss_of(name, **options)(logits, torch.zeros(1, 2, 4, dtype=torch.uint8)).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", LOSSES.names())
def test_mirrored_image_costs_the_same(name: str, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    mirrored = loss_of(name)(logits.flip(3), labels.flip(2))
    assert mirrored.item() == pytest.approx(loss_of(name)(logits, labels).item(), rel=1e-5)


@pytest.mark.parametrize("name", sorted(set(LOSSES.names()) - SPATIAL))
def test_where_pixels_lie_is_nothing_to_a_loss_of_pixels_or_regions(
    name: str, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    logits, labels = batch
    order = torch.randperm(labels.numel(), generator=torch.Generator().manual_seed(2))
    shuffled = logits.movedim(1, -1).reshape(-1, C)[order].reshape(*labels.shape, C).movedim(-1, 1)
    value = loss_of(name)(shuffled, labels.reshape(-1)[order].reshape(labels.shape))
    assert value.item() == pytest.approx(loss_of(name)(logits, labels).item(), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES.names())
def test_one_class_is_refused_with_the_remedy(name: str) -> None:
    component = LOSSES.get(name)
    options = component.Options(**SMALLEST.get(name, {}))
    assert {problem.message for problem in component.check(options, task(1))} == {
        "a loss needs at least 2 classes, the dataset has 1; list the background too",
    }
    assert not list(component.check(options, task(2)))


def test_auxiliary_logits_add_the_same_loss_times_their_weight(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    other, loss = torch.randn(logits.shape, dtype=torch.float16), loss_of("dice")
    value = loss(Outputs(logits, ((0.4, other), (0.2, logits))), labels)
    assert value.item() == pytest.approx((1.2 * loss(logits, labels) + 0.4 * loss(other, labels)).item(), rel=1e-6)


def test_loss_of_the_network_itself_takes_the_place_of_ours_unless_all_is_void() -> None:
    def own_loss(labels: torch.Tensor) -> torch.Tensor:
        assert labels.dtype == torch.int64
        return (labels == VOID).double().mean() / (labels != VOID).double().mean()  # not a number if all is void

    outputs, labels = Outputs(torch.randn(1, C, 4, 4), (), own_loss), torch.zeros(1, 4, 4, dtype=torch.uint8)
    labels[0, 0] = VOID
    assert loss_of("dice")(outputs, labels).item() == pytest.approx(1 / 3)
    assert loss_of("dice")(outputs, torch.full_like(labels, VOID)).item() == 0


def test_auxiliary_logits_of_an_all_void_batch_get_a_gradient_of_zero() -> None:
    logits, other = torch.randn(1, C, 4, 4), torch.randn(1, C, 4, 4, requires_grad=True)
    loss_of("cross_entropy")(Outputs(logits, ((0.4, other),)), torch.full((1, 4, 4), VOID)).backward()
    assert other.grad is not None
    assert torch.all(other.grad == 0)


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"logits \(1, 5, 4, 4\) and labels \(1, 8, 8\)"):
        loss_of("dice")(torch.zeros(1, C, 4, 4), torch.zeros(1, 8, 8, dtype=torch.uint8))


WEIGHTS = (1.0, 4.0, 0.5, 2.0, 1.0)


def test_cross_entropy_agrees_with_torch_where_torch_is_right(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    theirs = torch.nn.functional.cross_entropy(
        logits, labels.long(), weight=torch.tensor(WEIGHTS).double(), ignore_index=VOID
    )
    ours = loss_of("cross_entropy", class_weights=WEIGHTS)(logits, labels)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)


@pytest.mark.parametrize("name", WEIGHTED)
def test_class_of_weight_zero_alone_in_a_batch_gives_zero_not_nan(name: str) -> None:
    loss = loss_of(name, class_weights=(0.0, 1.0, 1.0, 1.0, 1.0))
    assert loss(torch.randn(1, C, 4, 4), torch.zeros(1, 4, 4, dtype=torch.uint8)).item() == 0.0


@pytest.mark.parametrize("name", WEIGHTED)
def test_balanced_weights_come_from_the_train_frequencies_and_are_capped(
    name: str, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    mean = 0.6 + 0.3 * 2**0.5 + 0.1 * 2  # of sqrt(0.6 / p) capped at 2, over the pixels
    weights = tuple(w / mean for w in (1.0, 2.0**0.5, 2.0, 2.0, 2.0))
    balanced = loss_of(name, class_weights="inverse_sqrt", weights_cap=2.0)(*batch)
    assert balanced.item() == pytest.approx(loss_of(name, class_weights=weights)(*batch).item(), rel=1e-6)
    assert balanced.item() != pytest.approx(loss_of(name)(*batch).item(), rel=1e-3)


def test_dice_that_counts_absent_classes_punishes_their_false_positives() -> None:
    logits, labels = torch.zeros(1, C, 8, 8), torch.zeros(1, 8, 8, dtype=torch.uint8)
    logits[:, 0, :4], logits[:, 4, 4:] = 50.0, 50.0  # the lower half is taken for the absent class 4
    skip, count = (loss_of("dice", absent=a)(logits, labels).item() for a in ("skip", "count"))
    assert skip == pytest.approx(1 - 65 / 97)
    assert count == pytest.approx((1 - 65 / 97 + 1 - 1 / 33) / 5)


def test_focal_without_focus_is_cross_entropy(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert loss_of("focal", gamma=0.0)(*batch).item() == pytest.approx(loss_of("cross_entropy")(*batch).item())


def test_ohem_that_keeps_all_is_cross_entropy(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert loss_of("ohem", min_kept=1)(*batch) == loss_of("cross_entropy")(*batch)


def test_tversky_with_equal_weights_is_dice_or_jaccard(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    for name, weight in (("dice", 0.5), ("jaccard", 1.0)):
        tversky = loss_of("tversky", false_positives=weight, false_negatives=weight, smooth=0)
        assert tversky(*batch).item() == pytest.approx(loss_of(name, smooth=0)(*batch).item())


def test_softmax_of_two_classes_is_the_sigmoid_of_their_difference() -> None:
    """So a binary dataset needs no network with a single logit."""
    difference, labels = torch.randn(2, 1, 6, 6), torch.randint(0, 2, (2, 6, 6))
    binary = torch.nn.functional.binary_cross_entropy_with_logits(difference[:, 0], labels.float())
    two = build_loss(cross_entropy, cross_entropy.Options(), LossContext(2, lambda: torch.ones(2) / 2))
    assert two(torch.cat([torch.zeros_like(difference), difference], 1), labels).item() == pytest.approx(binary.item())


def test_border_weight_is_that_of_the_formula_between_two_cells_and_void_is_no_cell() -> None:
    label = np.zeros((1, 9), np.uint8)
    label[0, [0, 8]], label[0, 4] = 1, VOID
    weights = border_weights(label, border_weighted_cross_entropy.Options(background=0, sigma=4.0))
    assert weights[0, 2] == pytest.approx(10 * np.exp(-((2 + 6) ** 2) / 32))
    assert weights[0] == pytest.approx(np.full(9, 10 * np.exp(-2.0)))  # d1 + d2 is 8 everywhere between the cells


def test_border_weight_is_zero_where_there_is_one_object_only() -> None:
    options = border_weighted_cross_entropy.Options()
    assert not border_weights(np.zeros((4, 4), np.uint8), options).any()


def test_rim_of_void_is_no_border_for_boundary_loss() -> None:
    logits, labels = torch.randn(1, C, 1, 9), torch.tensor([[[0, 0, 0, 0, 0, 0, 1, 1, 1]]])
    swapped = labels.clone()
    swapped[0, 0, 2] = VOID
    value = (torch.tensor([-5.0, -4, -2, -1, 0, 1, 2, 3]) * logits.softmax(1)[0, 0, 0, [0, 1, 3, 4, 5, 6, 7, 8]]).sum()
    value += (torch.tensor([6.0, 5, 3, 2, 1, 0, -1, -2]) * logits.softmax(1)[0, 1, 0, [0, 1, 3, 4, 5, 6, 7, 8]]).sum()
    assert loss_of("boundary")(logits, swapped).item() == pytest.approx(value.item() / 16, rel=1e-5)


@pytest.mark.parametrize("name", WEIGHTED)
def test_lists_of_weights_have_to_fit_the_classes(name: str) -> None:
    component: Any = LOSSES.get(name)
    short, zeros = component.Options(class_weights=(1.0, 2.0)), component.Options(class_weights=(0.0, 0.0))
    assert list(component.check(short, task(3))) == [
        ("class_weights", "2 weights for 3 classes; give one per class, in order"),
    ]
    assert not list(component.check(short, task(2)))
    assert "every weight is 0" in next(iter(component.check(zeros, task(2)))).message


@pytest.mark.parametrize(
    ("component", "options"),
    [
        (cross_entropy, {"class_weights": "effective"}),
        (cross_entropy, {"class_weights": (1.0, -1.0)}),
        (cross_entropy, {"class_weights": (1.0, float("nan"))}),
        (cross_entropy, {"weights_cap": 0.5}),
        (cross_entropy, {"label_smoothing": 1.0}),
        (dice, {"smooth": -1.0}),
        (focal, {"gamma": -1.0}),
        (focal_tversky, {"gamma": 0.5}),
        (ohem, {"min_kept": 0.0}),
        (border_weighted_cross_entropy, {"sigma": 0.0}),
    ],
)
def test_impossible_options_are_refused(component: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        component.Options(**options)


def test_distances_are_exact_and_the_same_at_every_call() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        mask = np.zeros(rng.integers(4, 80, 2), bool)
        mask[0, 0] = True
        for y, x, height, width in rng.integers(0, 20, (3, 4)):
            mask[y : y + height + 1, x : x + width + 1] = True
        expected = distance_transform_edt(~mask).astype(np.float32)
        assert all(np.array_equal(distances_to(mask), expected) for _ in range(3))
