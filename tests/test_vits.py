"""Models on vision transformers of timm: their sizes, their decoders, and weights from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segsweep.trainables.catalog import MODELS
from segsweep.trainables.components import Task, WeightsError
from segsweep.trainables.models._utnet import HEADS, Attention


def build(name: str, num_classes: int = 5, **options: Any) -> nn.Module:
    component = MODELS.get(name)
    return component.build(component.Options(**options), Task(num_classes, (64, 64), 2))


def on_meta(name: str, num_classes: int, **options: Any) -> float:
    with torch.device("meta"):
        model = build(name, num_classes, **options)
    return sum(p.numel() for p in model.parameters()) / 1e6


def test_the_mask_transformer_has_the_papers_parts() -> None:
    """With width d: a projection, classes, two layers of 12 d^2 + 13 d, a norm, two d x d projections, a norm."""
    d, classes = 384, 150
    parts = (d * d + d) + classes * d + 2 * (12 * d * d + 13 * d) + 2 * d + 2 * d * d + 2 * classes
    with_it = on_meta("segmenter", classes, encoder="vit_small_patch16_384")
    without = on_meta("segmenter", classes, encoder="vit_small_patch16_384", decoder="linear")
    assert with_it - without == pytest.approx((parts - (d * classes + classes)) / 1e6, abs=1e-6)


def test_transunet_is_as_large_as_the_papers() -> None:
    assert on_meta("transunet", 9) == pytest.approx(105.28, rel=0.01)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("segmenter", {"encoder": "vit_tiny_patch16_384"}),
        ("dino", {"encoder": "vit_small_patch16_dinov3", "head": "upernet", "decoder_width": 32}),
        pytest.param("sam", {"encoder": "samvit_base_patch16", "decoder_width": 32}, marks=pytest.mark.slow),
    ],
)
def test_other_decoders_and_encoders_learn_at_odd_sizes(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = build(name, num_classes=4, **options).train()
    labels = torch.arange(4)[None, :, None].repeat_interleave(13, 1).expand(1, 52, 66)
    images = labels[:, None] - 1.5 + 0.1 * torch.randn(1, 3, 52, 66)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    costs = []
    for _ in range(4):
        logits = model(images)
        assert logits.shape == (1, 4, 52, 66)
        cost = nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    assert costs[-1] < 0.97 * costs[0]
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_weights_come_from_a_file_of_the_encoder(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    theirs = timm.create_model("vit_tiny_patch16_384")
    save_file(theirs.state_dict(), tmp_path / "tiny.safetensors")
    weights = str(tmp_path / "tiny.safetensors")
    ours = build("segmenter", encoder="vit_tiny_patch16_384", encoder_weights=weights)
    found = ours.get_submodule("network.encoder.vit").state_dict()
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in found.items())
    with pytest.raises(WeightsError, match=r"cannot be loaded as those of 'vit_small_patch16_384' \(.*; give a file"):
        build("segmenter", encoder="vit_small_patch16_384", encoder_weights=weights)
    with pytest.raises(WeightsError, match="give a file of its weights with timm's names"):
        build("segmenter", encoder_weights=str(tmp_path / "nothing.safetensors"))


def test_weights_of_the_hub_that_are_not_there_come_with_what_to_put_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"`hf download timm/vit_small_patch14_dinov2\.lvd142m`"):
        build("dino", encoder_weights="timm")


@pytest.mark.parametrize("name", ["dino", "sam", "segmenter", "transunet"])
def test_weights_that_cannot_be_meant_are_reported(name: str) -> None:
    component = MODELS.get(name)
    (problem,) = component.check(component.Options(encoder_weights="imagenet"), Task(5, (64, 64), 2))
    assert problem.message == (
        "must be none, timm, a file, a folder, a repository of the hub (owner/name) or package:NAME, not 'imagenet'"
    )


def slow_attention(attention: Attention, asking: Tensor, answering: Tensor) -> Tensor:
    """Head by head and pixel by pixel, for a map of the grid's own size."""
    heads, side = HEADS, attention.reduced
    keys, values = attention.keys_values(answering).chunk(2, dim=1)
    queries, found = attention.query(asking), torch.zeros_like(asking)
    width = queries.shape[1] // heads
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        for row in range(side):
            for column in range(side):
                scores = torch.einsum("d,dhw->hw", queries[0, part, row, column], keys[0, part]) / width**0.5
                top, left = row + side - 1, column + side - 1
                near = attention.positions[head, top - side + 1 : top + 1, left - side + 1 : left + 1].flip(0, 1)
                share = (scores + near).flatten().softmax(0).view(side, side)
                found[0, part, row, column] = torch.einsum("hw,dhw->d", share, values[0, part])
    return attention.out(found)  # type: ignore[no-any-return]


def test_utnets_attention_is_softmax_with_relative_positions() -> None:
    torch.manual_seed(0)
    attention = Attention(width=32, source=16, reduced=3)
    nn.init.normal_(attention.positions)
    asking, answering = torch.randn(1, 32, 3, 3), torch.randn(1, 16, 3, 3)
    with torch.no_grad():
        torch.testing.assert_close(attention(asking, answering), slow_attention(attention, asking, answering))
