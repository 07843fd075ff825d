"""Set losses: labelled pixels alone count, perfect masks cost nothing, and a search space cannot misplace `own`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted import plan_of
from torch import Tensor
from torch.nn import functional as F

from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.forecasting.summary import as_lines, summary
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.trainables.catalog import MODELS
from segsweep.trainables.components import VOID, Outputs, Task
from segsweep.trainables.models._set_loss import SetLoss, SetPrediction
from segsweep.trainables.models._universal import semantic_logits

LOSSES = [
    SetLoss(class_weight=2.0, mask_weight=5.0, dice_weight=5.0),
    SetLoss(class_weight=1.0, mask_weight=20.0, dice_weight=1.0, mask_term="focal"),
]
OWN = {
    "eomt": {"encoder": "dinov2_tiny", "queries": 6},
    "mask2former": {"queries": 6, "decoder_layers": 1, "pixel_decoder_layers": 1, "decoder_width": 64},
    "maskformer": {"queries": 6, "decoder_layers": 1, "decoder_width": 64},
    "oneformer": {"queries": 6, "decoder_layers": 1, "pixel_decoder_layers": 1, "decoder_width": 64},
}


def network(name: str) -> torch.nn.Module:
    options: dict[str, Any] = {**OWN[name]}
    if name != "eomt":
        options["encoder"] = "resnet18"
    component = MODELS.get(name)
    return component.build(component.Options(**options), Task(3, (64, 64), 2))


def prediction(queries: int = 4, classes: int = 3, size: tuple[int, int] = (8, 8), images: int = 2) -> SetPrediction:
    torch.manual_seed(0)
    logits = torch.randn(images, queries, classes + 1, requires_grad=True)
    return SetPrediction(logits, torch.randn(images, queries, *size, requires_grad=True))


def halves(size: int = 8) -> Tensor:
    """Two images: class 0 left and 2 right, and class 1 above void."""
    labels = torch.zeros(2, size, size, dtype=torch.long)
    labels[0, :, size // 2 :] = 2
    labels[1, : size // 2], labels[1, size // 2 :] = 1, VOID
    return labels


def perfect(labels: Tensor) -> SetPrediction:
    """Queries 3, 2, 1 say classes 0, 1, 2 where an image shows them; the others say none."""
    classes = torch.full((2, 4, 4), -30.0)
    classes[..., 3] = 30.0
    masks = torch.full((2, 4, 8, 8), -30.0)
    for i, c in [(0, 0), (0, 2), (1, 1)]:
        classes[i, 3 - c] = torch.tensor([30.0 if k == c else -30.0 for k in range(4)])
        masks[i, 3 - c][labels[i] == c] = 30.0
    return SetPrediction(classes, masks)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_perfect_prediction_costs_nothing_and_gives_the_labels(loss: SetLoss) -> None:
    labels = halves()
    assert loss([perfect(labels)], labels).item() == pytest.approx(0, abs=1e-6)
    found = semantic_logits(perfect(labels))
    assert torch.equal(found.argmax(1)[labels != VOID], labels[labels != VOID])
    assert F.cross_entropy(found, labels, ignore_index=VOID).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_void_pixels_have_no_gradient_and_no_effect(loss: SetLoss) -> None:
    given, labels = prediction(), halves()
    cost = loss([given], labels)
    cost.backward()
    assert given.masks.grad is not None
    assert not given.masks.grad[1, :, 4:].any()
    assert given.masks.grad[1, :, :4].any()
    changed = given.masks.detach().clone()
    changed[1, :, 4:] = 100.0
    assert loss([SetPrediction(given.classes, changed)], labels).item() == cost.item()


@pytest.mark.parametrize("loss", LOSSES)
def test_an_image_without_a_label_counts_for_nothing(loss: SetLoss) -> None:
    given, labels = prediction(), halves()
    labels[1] = VOID
    first = SetPrediction(given.classes[:1], given.masks[:1])
    assert loss([given], labels).item() == loss([first], labels[:1]).item()
    labels[0] = VOID
    nothing = loss([given, given], labels)
    nothing.backward()
    assert nothing.item() == 0
    assert given.classes.grad is not None
    assert not given.classes.grad.any()


def test_loss_is_that_of_mask2former_at_all_pixels_where_nothing_is_void() -> None:
    """Put together from the pieces of transformers; theirs draws points, beyond the border too, where masks are 0."""
    from scipy.optimize import linear_sum_assignment
    from transformers.models.mask2former import modeling_mask2former as theirs

    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, 3:] = 2
    shown = torch.tensor([0, 2])
    given = prediction(images=1)
    classes, masks = given.classes.detach()[0], given.masks.detach()[0].flatten(1)
    truth = (labels.flatten() == shown[:, None]).float()
    cost = 5 * theirs.pair_wise_sigmoid_cross_entropy_loss(masks, truth) + 5 * theirs.pair_wise_dice_loss(masks, truth)
    queries, matched = linear_sum_assignment(cost - 2 * classes.softmax(1)[:, shown])
    wanted = torch.full((4,), 3)
    wanted[queries] = shown[matched]
    expected = 2 * F.cross_entropy(classes, wanted, torch.tensor([1, 1, 1, 0.1]))
    expected += 5 * theirs.sigmoid_cross_entropy_loss(masks[queries], truth[matched], 2)
    expected += 5 * theirs.dice_loss(masks[queries], truth[matched], 2)
    assert LOSSES[0]([given], labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_focal_masks_are_those_of_transformers_where_nothing_is_void() -> None:
    from transformers.models.maskformer.modeling_maskformer import dice_loss, sigmoid_focal_loss

    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, 4:] = 1
    given = prediction(queries=2, classes=2, images=1)
    flat, truth = given.masks[0].flatten(1), torch.stack([labels[0] == 0, labels[0] == 1]).float().flatten(1)

    def of(order: list[int]) -> float:
        found = 20 * sigmoid_focal_loss(flat[order], truth, 2) + dice_loss(flat[order], truth, 2)
        return found.item()

    alone = SetLoss(class_weight=0.0, mask_weight=20.0, dice_weight=1.0, mask_term="focal")
    assert alone([given], labels).item() == pytest.approx(min(of([0, 1]), of([1, 0])), rel=1e-5)


def test_points_are_drawn_among_labelled_pixels_only() -> None:
    labels = torch.full((1, 32, 32), VOID)
    labels[0, :16, :16], labels[0, :16, 16:] = 0, 1
    given = prediction(classes=2, size=(32, 32), images=1)
    few = SetLoss(class_weight=2.0, mask_weight=5.0, dice_weight=5.0, points=20)
    few([given], labels).backward()
    assert given.masks.grad is not None
    assert not given.masks.grad[:, :, 16:].any()
    assert 0 < given.masks.grad[0, :, :16].flatten(1).any(0).sum() <= 40


def test_more_classes_than_queries_match_as_many_as_there_are() -> None:
    given, labels = prediction(queries=1), halves()
    assert torch.isfinite(LOSSES[0]([given], labels))


@pytest.mark.parametrize("name", OWN)
def test_own_loss_falls_and_void_has_no_say(name: str) -> None:
    torch.manual_seed(0)
    model = network(name)
    images, labels = torch.randn(2, 3, 50, 62), torch.randint(3, (2, 50, 62))
    labels[:, :25], labels[:, 25:] = 0, 1
    images += 2.0 * labels[:, None]
    labels[:, :, 55:] = VOID
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    costs = []
    for _ in range(8):
        outputs = model(images)
        assert isinstance(outputs, Outputs)
        assert outputs.logits.shape == (2, 3, 50, 62)
        assert outputs.own_loss is not None
        cost = outputs.own_loss(labels)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    assert min(costs[-2:]) < 0.9 * costs[0]


@pytest.mark.parametrize("name", ["mask2former", "maskformer", "oneformer"])
def test_queries_start_apart(name: str) -> None:
    """Nearly alike, they learn the same."""
    from torch import nn

    embeddings = [module.weight for module in network(name).modules() if isinstance(module, nn.Embedding)]
    assert embeddings
    assert all(weight.std() > 0.8 for weight in embeddings)


def test_maskformers_decoder_starts_as_published_and_weights_stay_what_they_are(tmp_path: Path) -> None:
    started: Any = network("maskformer").get_submodule("network.network")
    layer = started.model.transformer_module.decoder.layers[0].encoder_attn.q_proj.weight
    assert layer.std().item() == pytest.approx((2 / (64 + 64)) ** 0.5, rel=0.1)  # Xavier's
    with torch.no_grad():
        layer.zero_()
    started.save_pretrained(tmp_path)
    component = MODELS.get("maskformer")
    options = component.Options(**OWN["maskformer"], encoder="resnet18", encoder_weights=str(tmp_path))
    loaded: Any = component.build(options, Task(4, (64, 64), 2)).get_submodule("network.network")
    assert not loaded.model.transformer_module.decoder.layers[0].encoder_attn.q_proj.weight.any()
    assert loaded.class_predictor.weight.shape[0] == 5


def test_copies_say_what_they_compute_themselves() -> None:
    """As the moving average of a network does."""
    model = network("eomt").eval()
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = model(images)
        other(images)
        assert torch.equal(model(images), before)
        assert not torch.equal(other(images), before)


HEAD = "datasets: [streets]\nepochs: 9\nimage_size: [64, 96]\n"


def plan(text: str) -> SweepPlan:
    return plan_of(HEAD + text)


def mistakes(text: str) -> list[str]:
    with pytest.raises(InputError) as error:
        plan(text)
    return [str(mistake) for mistake in error.value.mistakes]


def test_models_with_a_loss_of_their_own_do_not_cross_with_losses() -> None:
    found = plan("losses: [dice, focal]\nmodels: [unet, eomt]\n")
    pairs = [(each.model.type, each.loss.type) for each in found.combinations]
    assert pairs == [("unet", "dice"), ("unet", "focal"), ("eomt", "own")]
    lines = list(as_lines(summary(found, Capacity(2, 0))))
    assert "  losses        eomt/dinov3_small: own, instead of the sweep's" in lines


def test_own_with_a_model_that_has_none_is_refused() -> None:
    (alone,) = mistakes("losses: [dice, own]\nmodels: [unet, eomt]\n")
    assert alone.startswith("space.yaml:4: losses[1]: own is the loss that a model brings, and unet/resnet34 has none")
    (of_model,) = mistakes("models: [{architecture: unet, losses: [own]}]\n")
    assert of_model.startswith(
        "space.yaml:4: models[0].losses[0]: own is the loss that a model brings, and unet has none"
    )
    assert "unknown key" in mistakes("losses: [{own: 0.5, dice: 0.5}]\nmodels: [unet]\n")[0]


def test_another_loss_for_a_model_with_its_own_is_refused() -> None:
    (found,) = mistakes("models: [{architecture: mask2former, losses: [dice]}]\n")
    assert found == "space.yaml:4: models[0].losses: mask2former trains with its own loss; leave `losses` out here"
    assert len(plan("losses: [own]\nmodels: [mask2former, {architecture: eomt, losses: [own]}]\n").combinations) == 2


def test_fewer_queries_than_classes_are_refused() -> None:
    (found,) = mistakes("models: [{architecture: eomt, queries: 3}]\n")
    assert found.endswith("each takes a query of its own; give at least 8, not 3")
