"""Every loss of the catalogue against its float64 reference, and its gradient against finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from loss_references import REFERENCES, Batch

from segsweep.trainables.catalog import LOSSES
from segsweep.trainables.components import VOID, LossContext
from segsweep.trainables.masked_loss import build_loss

WEIGHTS = (1.0, 4.0, 0.5, 2.0, 1.0)
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "border_weighted_cross_entropy": [{}, {"sigma": 1.5, "w0": 3.0, "background": 0, "class_weights": WEIGHTS}],
    "boundary": [{}, {"activation": "sigmoid"}, {"rise": 1.0}],  # in its first epoch
    "combo": [{}, {"alpha": 0.3, "beta": 0.8, "smooth": 0.0}, {"activation": "sigmoid"}],
    "cross_entropy": [
        {},
        {"class_weights": WEIGHTS, "label_smoothing": 0.1},
        {"activation": "sigmoid", "class_weights": WEIGHTS, "label_smoothing": 0.1},
    ],
    "dice": [
        {},
        {"class_weights": WEIGHTS, "smooth": 0.0, "per_image": True},
        {"absent": "count", "log": True},
        {"activation": "sigmoid"},
    ],
    "focal": [{}, {"gamma": 0.5, "class_weights": WEIGHTS}, {"activation": "sigmoid", "class_weights": WEIGHTS}],
    "focal_tversky": [{}, {"gamma": 2.0, "false_positives": 0.9, "false_negatives": 0.1, "class_weights": WEIGHTS}],
    "generalised_dice": [{}, {"volume": "simple", "absent": "count"}, {"activation": "sigmoid"}, {"absent": "count"}],
    "hausdorff_distance": [{}, {"one_sided": True, "alpha": 1.0}, {"activation": "sigmoid"}],
    "jaccard": [{}, {"class_weights": WEIGHTS, "smooth": 0.0, "per_image": True}, {"log": True}],
    "lovasz_softmax": [{}, {"per_image": True}],
    "own": [{}],
    "ohem": [{}, {"threshold": 0.0, "min_kept": 0.5, "class_weights": WEIGHTS}, {"threshold": 0.99, "min_kept": 0.01}],
    "sum": [
        {"dice": 0.5, "cross_entropy": 0.5},
        {"generalised_dice": 1, "boundary": {"weight": 0.01}, "focal": {"weight": 2.0, "gamma": 1.0}, "ohem": {}},
    ],
    "tversky": [{}, {"false_positives": 0.9, "false_negatives": 0.1, "absent": "count"}, {"log": True}],
}
CASES = [pytest.param(name, options, id=f"{name}-{i}") for name in VARIANTS for i, options in enumerate(VARIANTS[name])]


def batch(num_classes: int, shown: int, size: tuple[int, int] = (7, 9), images: int = 3) -> Batch:
    """Labels of the first `shown` classes in patches, a third void and the last of several images all void."""
    rng = np.random.default_rng(num_classes)
    labels = rng.integers(0, shown, (images, size[0] // 2 + 1, size[1] // 2 + 1))
    labels = labels.repeat(2, 1).repeat(2, 2)[:, : size[0], : size[1]]
    labels[rng.random(labels.shape) < 0.33] = VOID
    if images > 1:
        labels[-1] = VOID
    return Batch(3 * rng.standard_normal((images, num_classes, *size)), labels)


def loss(name: str, options: dict[str, Any], num_classes: int) -> Any:
    component = LOSSES.get(name)
    context = LossContext(num_classes, lambda: torch.ones(num_classes) / num_classes)
    return build_loss(component, component.Options(**options), context)


def value_of(name: str, options: dict[str, Any], given: Batch) -> float:
    return float(loss(name, options, given.num_classes)(torch.from_numpy(given.z), torch.from_numpy(given.y)))


def test_every_loss_has_a_reference_and_is_tried_with_its_options() -> None:
    assert sorted(REFERENCES) == sorted(VARIANTS) == LOSSES.names()
    for name in set(VARIANTS) - {"sum"}:
        tried = {key for options in VARIANTS[name] for key in options}
        assert tried >= {*LOSSES.get(name).Options.model_fields} - {"class_weights", "weights_cap", *SHARED}, name


SHARED = ("absent", "smooth", "per_image", "activation", "log")  # of _regions.py: tried with dice


@pytest.mark.parametrize(("name", "options"), CASES)
def test_loss_is_that_of_its_reference_with_absent_classes_and_void(name: str, options: dict[str, Any]) -> None:
    given = batch(num_classes=5, shown=3)
    assert value_of(name, options, given) == pytest.approx(REFERENCES[name](given, options), rel=1e-5)


@pytest.mark.parametrize("num_classes", [2, 19])
@pytest.mark.parametrize("name", LOSSES.names())
def test_loss_is_that_of_its_reference_for_two_classes_and_for_many(name: str, num_classes: int) -> None:
    given, options = batch(num_classes, num_classes), VARIANTS[name][0]
    assert value_of(name, options, given) == pytest.approx(REFERENCES[name](given, options), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES.names())
def test_batch_of_one_costs_what_its_reference_says(name: str) -> None:
    given, options = batch(5, 3, images=1), VARIANTS[name][0]
    assert value_of(name, options, given) == pytest.approx(REFERENCES[name](given, options), rel=1e-5)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_gradient_is_that_of_finite_differences(name: str, options: dict[str, Any]) -> None:
    given = batch(num_classes=5, shown=3, size=(3, 4), images=1)
    formula = loss(name, options, 5).loss.double()
    labels, valid = torch.from_numpy(given.y).clone(), torch.from_numpy(given.y != VOID)
    labels[~valid] = 0
    logits = torch.from_numpy(given.z).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: formula(z, labels, valid), logits)
