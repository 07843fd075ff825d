"""Grad-CAM and attention: by hand on networks of a few numbers, and against what transformers says of its own heads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segsweep.trainables.catalog import MODELS
from segsweep.trainables.components import DataError, DatasetCard, Task
from segsweep.trainables.config import Entry, Evaluation, TrialConfig
from segsweep.trainables.data.normalization import UNIT
from segsweep.trainables.prediction.explanations import Attention, CannotExplainError, GradCam, heated
from segsweep.trainables.prediction.predictor import Manner, Predictor
from segsweep.trainables.prediction.trained_model import TrainedModel
from segsweep.trainables.training.arithmetic import FLOAT32

PLAIN = {kind: Entry(type="t", name="t") for kind in ("dataset", "loss", "optimizer", "lr_schedule", "augmentation")}


def predictor(network: nn.Module, classes: int) -> Predictor:
    config = TrialConfig(
        trial_id="001", model=Entry(type="m", name="m"), **PLAIN, epochs=1, batch_size=1, image_size=(8, 8), seed=0
    )
    card = DatasetCard(tuple("abcdefgh"[:classes]), ((0, 0, 0),) * classes)
    network = network.eval().requires_grad_(False)
    model = TrainedModel(config, card, network, UNIT, FLOAT32, "cnn", torch.device("cpu"), 1, {}, {})
    return Predictor(model, Manner(None, Evaluation(), batch_size=1))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


class Colors(nn.Module):
    """The encoder's maps are red, green and blue; the logits of class 0 are red, those of class 1 green less blue."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        red, green, blue = self.encoder(images).unbind(1)
        return torch.stack([red, green - blue], dim=1)


def test_grad_cam_weighs_each_map_by_what_it_does_for_the_class() -> None:
    image = noise(6, 8)
    red, green, blue = (image[..., channel].astype(float) for channel in range(3))
    found = GradCam(0).heat(predictor(Colors(), 2), image)
    assert np.allclose(found, (red - red.min()) / np.ptp(red), atol=1e-5)
    one_pixel = GradCam(1, pixel=(3, 2)).heat(predictor(Colors(), 2), image)
    expected = np.maximum(green - blue, 0)
    assert np.allclose(one_pixel, expected / expected.max(), atol=1e-5)


class Attends(nn.Module):
    """One layer of two heads over 2x2 patches behind one more token; head 1 compares red, head 2 blue."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)  # where the size of the image is seen
        nn.init.dirac_(self.first.weight)
        nn.init.zeros_(self.first.bias)

    def forward(self, images: Tensor) -> Tensor:
        tokens = F.avg_pool2d(self.first(images), 2).flatten(2).mT  # (1, N, 3)
        tokens = torch.cat([torch.ones(1, 1, 3), tokens], dim=1)
        heads = tokens[:, None].mT[..., [0, 2], :].permute(0, 2, 3, 1)  # (1, 2, N, 1)
        F.scaled_dot_product_attention(heads, heads, heads, scale=4.0)
        return images[:, :2]


def test_attention_is_that_of_the_head_at_the_pixels_token() -> None:
    image = np.repeat(np.repeat(noise(2, 3), 2, axis=0), 2, axis=1)  # its patches are of one colour
    found = Attention(1, 2, pixel=(5, 2)).heat(predictor(Attends(), 2), image)
    blue = image[::2, ::2, 2] / 255
    weights = np.exp(4 * blue[1, 2] * blue)
    upsampled = F.interpolate(torch.from_numpy(weights)[None, None], size=(4, 6), mode="bilinear")[0, 0].numpy()
    assert np.allclose(found, (upsampled - upsampled.min()) / np.ptp(upsampled), atol=1e-4)
    mean = Attention(1, 0, pixel=(5, 2)).heat(predictor(Attends(), 2), image)
    assert not np.allclose(mean, found, atol=1e-2)


@pytest.mark.parametrize(
    ("layer", "head", "pixel", "kind", "message"),
    [
        (2, 1, (0, 0), CannotExplainError, "'m' has no attention layer 2; it has 1$"),
        (1, 3, (0, 0), CannotExplainError, "--attention 1:3: the layer has the heads 1 to 2"),
        (1, 1, (6, 0), DataError, "--pixel 6,0: is not in the image, which is 6x4"),
    ],
)
def test_what_there_is_not_is_said(
    layer: int, head: int, pixel: tuple[int, int], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        Attention(layer, head, pixel).heat(predictor(Attends(), 2), noise(4, 6))


def test_networks_that_cannot_be_explained_so_are_pointed_to_the_other_way() -> None:
    with pytest.raises(CannotExplainError, match="has none that can be watched; CNNs have --grad-cam"):
        Attention(1, 1, (0, 0)).heat(predictor(Colors(), 2), noise(4, 6))
    with pytest.raises(CannotExplainError, match="gives no maps; try --attention"):
        GradCam(0).heat(predictor(Attends(), 2), noise(4, 6))


def test_heads_of_a_segformer_are_those_that_transformers_reports() -> None:
    component = MODELS.get("segformer")
    network = component.build(component.Options(), Task(4, (64, 96), 1)).eval()
    image = noise(64, 96)
    (x, y), ours = (50, 20), predictor(network, 4)
    found = Attention(3, 2, pixel=(x, y)).heat(ours, image)  # the first of the second stage, at stride 8
    inner = network.get_submodule("network.network.segformer")
    inner.config._attn_implementation = "eager"
    images = torch.from_numpy(image)[None].permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        attentions = inner(images, output_attentions=True).attentions
    seen = attentions[2][0, 1, y // 8 * 12 + x // 8]
    expected = F.interpolate(seen.reshape(1, 1, 2, 3), size=(64, 96), mode="bilinear")[0, 0].numpy()
    assert np.allclose(found, (expected - expected.min()) / np.ptp(expected), atol=1e-3)


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("unet", {"encoder": "resnet18"}),
        ("segformer", {}),
        ("hf_upernet", {"encoder": "resnet18", "decoder_width": 32}),
    ],
)
def test_grad_cam_finds_the_maps_of_real_encoders(architecture: str, options: dict[str, object]) -> None:
    component = MODELS.get(architecture)
    network = component.build(component.Options(**options), Task(4, (70, 90), 1))
    found = GradCam(1, pixel=(40, 30)).heat(predictor(network, 4), noise(70, 90))
    assert (found.shape, found.min()) == ((70, 90), 0.0)


def test_a_ring_marks_the_pixel() -> None:
    heat = np.zeros((40, 60), np.float32)
    differing = heated(noise(40, 60), heat, (30, 20)) != heated(noise(40, 60), heat, None)
    rows, columns = np.nonzero(differing.any(axis=2))
    assert (rows.mean().round(), columns.mean().round()) == (20, 30)
    assert differing.any(axis=2).mean() < 0.1
