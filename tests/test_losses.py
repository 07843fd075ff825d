"""Every loss of the catalogue: the promises of MaskedLoss; then each formula against float64 numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from segsweep.trainables.catalog import LOSSES
from segsweep.trainables.components import VOID, LossContext, Task
from segsweep.trainables.losses import cross_entropy, dice, focal
from segsweep.trainables.masked_loss import MaskedLoss, build_loss

C = 5
FREQUENCIES = torch.tensor([0.6, 0.3, 0.0999, 0.0001, 0.0], dtype=torch.float64)
CONTEXT = LossContext(num_classes=C, class_frequencies=lambda: FREQUENCIES)
Array = NDArray[np.float64]


def loss_of(name: str, **options: Any) -> MaskedLoss:
    component = LOSSES.get(name)
    return build_loss(component, component.Options(**options), CONTEXT)


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


def labelled(logits: torch.Tensor, labels: torch.Tensor) -> tuple[Array, NDArray[np.int64]]:
    """Log softmax (P, C) and labels (P,) of the labelled pixels, float64."""
    z, y = np.moveaxis(logits.numpy(), 1, -1).reshape(-1, C), labels.numpy().reshape(-1).astype(np.int64)
    z, y = z[y != VOID], y[y != VOID]
    return z - np.log(np.exp(z).sum(1, keepdims=True)), y


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
    logits = (20 * torch.randn(2, C, 512, 512, generator=generator)).to(dtype).requires_grad_()  # sums beyond 65504
    loss = loss_of(name)(logits, torch.randint(0, C, (2, 512, 512), generator=generator, dtype=torch.uint8))
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
def test_one_class_is_refused_with_the_remedy(name: str) -> None:
    component = LOSSES.get(name)
    problems = [p.message for p in component.check(component.Options(), task(1))]
    assert problems == [
        "a softmax loss needs at least 2 classes, the dataset has 1; list the background too",
    ]
    assert not list(component.check(component.Options(), task(2)))


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"logits \(1, 5, 4, 4\) and labels \(1, 8, 8\)"):
        loss_of("dice")(torch.zeros(1, C, 4, 4), torch.zeros(1, 8, 8, dtype=torch.uint8))


WEIGHTS = (1.0, 4.0, 0.5, 2.0, 1.0)


def cross_entropy_reference(log_p: Array, y: NDArray[np.int64], weights: tuple[float, ...], smoothing: float) -> float:
    losses = -(1 - smoothing) * log_p[np.arange(len(y)), y] - smoothing * log_p.mean(1)
    w = np.array(weights)[y]
    return float((w * losses).sum() / w.sum())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_is_the_weighted_mean_over_labelled_pixels(
    weights: tuple[float, ...] | None, smoothing: float, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    value = loss_of("cross_entropy", class_weights=weights or "none", label_smoothing=smoothing)(*batch)
    expected = cross_entropy_reference(*labelled(*batch), weights or (1.0,) * C, smoothing)
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_agrees_with_torch_where_torch_is_right(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    theirs = torch.nn.functional.cross_entropy(
        logits, labels.long(), weight=torch.tensor(WEIGHTS).double(), ignore_index=VOID
    )
    ours = loss_of("cross_entropy", class_weights=WEIGHTS)(logits, labels)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "dice"])
def test_class_of_weight_zero_alone_in_a_batch_gives_zero_not_nan(name: str) -> None:
    loss = loss_of(name, class_weights=(0.0, 1.0, 1.0, 1.0, 1.0))
    assert loss(torch.randn(1, C, 4, 4), torch.zeros(1, 4, 4, dtype=torch.uint8)).item() == 0.0


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "dice"])
def test_balanced_weights_come_from_the_train_frequencies_and_are_capped(
    name: str, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    mean = 0.6 + 0.3 * 2**0.5 + 0.1 * 2  # of sqrt(0.6 / p) capped at 2, over the pixels
    weights = tuple(w / mean for w in (1.0, 2.0**0.5, 2.0, 2.0, 2.0))
    balanced = loss_of(name, class_weights="inverse_sqrt", weights_cap=2.0)(*batch)
    assert balanced.item() == pytest.approx(loss_of(name, class_weights=weights)(*batch).item(), rel=1e-6)
    assert balanced.item() != pytest.approx(loss_of(name)(*batch).item(), rel=1e-3)


def dice_reference(
    log_p: Array, y: NDArray[np.int64], smooth: float, count_absent: bool, weights: tuple[float, ...]
) -> float:
    p, truth = np.exp(log_p), np.eye(C)[y]
    coefficient = (2 * (p * truth).sum(0) + smooth) / (p.sum(0) + truth.sum(0) + smooth)
    counted = slice(None) if count_absent else truth.any(0)
    return float(np.average((1 - coefficient)[counted], weights=np.array(weights)[counted]))


@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("absent", ["skip", "count"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_dice_is_one_minus_the_weighted_mean_coefficient(
    weights: tuple[float, ...] | None, absent: str, smooth: float, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    value = loss_of("dice", absent=absent, smooth=smooth, class_weights=weights or "none")(*batch)
    expected = dice_reference(*labelled(*batch), smooth, absent == "count", weights or (1.0,) * C)
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_dice_that_counts_absent_classes_punishes_their_false_positives() -> None:
    logits, labels = torch.zeros(1, C, 8, 8), torch.zeros(1, 8, 8, dtype=torch.uint8)
    logits[:, 0, :4], logits[:, 4, 4:] = 50.0, 50.0  # the lower half is taken for the absent class 4
    skip, count = (loss_of("dice", absent=a)(logits, labels).item() for a in ("skip", "count"))
    assert skip == pytest.approx(1 - 65 / 97)
    assert count == pytest.approx((1 - 65 / 97 + 1 - 1 / 33) / 5)


@pytest.mark.parametrize("alpha", [None, WEIGHTS])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_is_the_softmax_form_of_the_paper(
    gamma: float, alpha: tuple[float, ...] | None, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    log_p, y = labelled(*batch)
    log_p = log_p[np.arange(len(y)), y]
    expected = (-np.array(alpha or (1.0,) * C)[y] * (1 - np.exp(log_p)) ** gamma * log_p).mean()
    value = loss_of("focal", gamma=gamma, class_weights=alpha or "none")(*batch)
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_focal_without_focus_is_cross_entropy(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert loss_of("focal", gamma=0.0)(*batch).item() == pytest.approx(loss_of("cross_entropy")(*batch).item())


def test_focal_gradient_is_finite_where_the_network_is_certain() -> None:
    logits = torch.zeros(1, C, 2, 2)
    logits[:, 0] = 200.0  # p = 1 in float32
    logits.requires_grad_()
    loss_of("focal", gamma=0.5)(logits, torch.zeros(1, 2, 2, dtype=torch.uint8)).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("component", [cross_entropy, focal, dice], ids=lambda module: module.__name__)
def test_lists_of_weights_have_to_fit_the_classes(component: Any) -> None:
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
    ],
)
def test_impossible_options_are_refused(component: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        component.Options(**options)
