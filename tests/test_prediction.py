"""Prediction with a trained trial: the very labels that were scored, whatever the batches, at any size of image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from street_trials import entry, street_config

from segsweep.trainables.components import Pair
from segsweep.trainables.config import Evaluation, TrialConfig
from segsweep.trainables.data.splits import open_dataset
from segsweep.trainables.prediction import predictor as module
from segsweep.trainables.prediction.predictor import Manner, Predictor
from segsweep.trainables.prediction.trained_model import TrainedModel, load_trained
from segsweep.trainables.scoring.confusions import load_confusions
from segsweep.trainables.scoring.metrics import confusion_matrix
from segsweep.trainables.trial import Trial

CPU = torch.device("cpu")
EVERY_VIEW = Evaluation(method="sliding_window", window=(32, 40), blend="gaussian", flip=True, scales=(1.0, 1.25))


config = partial(street_config, augmentation=entry("light"), epochs=2)


def trained(config: TrialConfig, folder: Path) -> TrainedModel:
    with Trial(config, folder) as trial:
        list(trial.run())
    return load_trained(folder / "best.pt", CPU)


def pairs(config: TrialConfig) -> Sequence[Pair]:
    return [sample.read() for sample in open_dataset(config.dataset.type, config.dataset.options).splits["val"]]


def check_scored(folder: Path, predictor: Predictor, scored: Sequence[Pair]) -> None:
    """The labels have the matrix of every image that the trial left."""
    stored = load_confusions(folder / "confusions.npz")
    found = list(predictor.stream(image for image, _ in scored))
    assert len(found) == len(stored.ids) == len(scored)
    for index, (labels, (image, truth)) in enumerate(zip(found, scored, strict=True)):
        assert labels.shape == image.shape[:2]
        matrix = confusion_matrix(torch.from_numpy(labels), torch.from_numpy(truth), len(stored.classes))
        assert np.array_equal(matrix.numpy(), stored.matrix(index))


@pytest.mark.parametrize(
    "changes",
    [{}, {"evaluation": EVERY_VIEW}, {"ema": 0.5, "optimizer": entry("schedule_free", lr=5e-3, weight_decay=0.0)}],
    ids=["whole", "windows and views", "averaged weights"],
)
def test_validation_images_get_the_labels_that_were_scored(tmp_path: Path, changes: dict[str, object]) -> None:
    chosen = config(**changes)
    check_scored(tmp_path, Predictor(trained(chosen, tmp_path)), pairs(chosen))


def test_real_images_get_the_labels_that_were_scored(tmp_path: Path, data_root: Path) -> None:
    if not (data_root / "camvid").is_dir():
        pytest.skip(f"no {data_root / 'camvid'}")
    dataset = entry("camvid", root=str(data_root / "camvid"), subset={"first": 8, "splits": ["train", "val"]})
    chosen = config(dataset=dataset, image_size=(96, 128))
    check_scored(tmp_path, Predictor(trained(chosen, tmp_path)), pairs(chosen))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return trained(config(), tmp_path_factory.mktemp("trial"))


def images(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.kron(rng.integers(0, 256, (2, 2, 3)), np.ones((h // 2, w // 2, 1))).astype(np.uint8) for h, w in sizes]


def test_what_is_loaded_says_what_it_was_trained_on(model: TrainedModel) -> None:
    assert model.config == config()
    assert model.classes[0] == model.card.classes[0]
    assert len(model.classes) == len(model.card.colors) == 8
    assert (model.epoch, "val_miou" in model.metrics, model.family) in [(1, True, "cnn"), (2, True, "cnn")]
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


def test_probabilities_are_those_of_the_labels(model: TrainedModel) -> None:
    (image,) = images((60, 80))
    found = Predictor(model).probabilities(image)
    assert found.shape == (8, 60, 80)
    assert torch.allclose(found.sum(0), torch.ones(60, 80), atol=1e-5)
    (labels,) = Predictor(model).labels([image])
    assert (found.argmax(0).numpy() == labels).mean() > 0.999  # where two are almost equal, rounding decides


def test_images_of_several_sizes_are_predicted_at_their_own(model: TrainedModel) -> None:
    given = images((64, 96), (64, 96), (40, 48), (64, 96))
    own = Predictor(model, Manner(None, Evaluation(), batch_size=4))
    found = own.labels(given)
    assert [labels.shape for labels in found] == [(64, 96), (64, 96), (40, 48), (64, 96)]
    for image, labels in zip(given, found, strict=True):
        assert (own.labels([image])[0] == labels).mean() > 0.999


def limit_memory(model: TrainedModel, monkeypatch: pytest.MonkeyPatch, pixels: int) -> list[tuple[int, ...]]:
    """The network refuses more pixels than that; what it was fed is noted."""
    fed: list[tuple[int, ...]] = []
    forward = model.network.forward

    def limited(images: torch.Tensor) -> torch.Tensor:
        fed.append(tuple(images.shape))
        if images.shape[0] * images.shape[2] * images.shape[3] > pixels:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(images)  # type: ignore[no-any-return]

    monkeypatch.setattr(model.network, "forward", limited)
    return fed


def test_a_batch_that_memory_does_not_hold_is_halved_for_good(
    model: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = images(*[(60, 80)] * 8)
    expected = Predictor(model).labels(given)
    fed = limit_memory(model, monkeypatch, 2 * 48 * 72)
    found = list(Predictor(model).stream(given))
    assert [shape[0] for shape in fed] == [4, 2, 2, 2, 2]
    assert all((a == b).mean() > 0.999 for a, b in zip(found, expected, strict=True))


def test_an_image_that_memory_does_not_hold_is_predicted_in_overlapping_parts_and_that_is_said(
    model: TrainedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (image,) = images((300, 600))
    own = Predictor(model, Manner(None, Evaluation(), batch_size=1))
    (expected,) = own.labels([image])
    fed = limit_memory(model, monkeypatch, 300 * 370)
    (found,) = own.labels([image])
    assert found.shape == (300, 600)
    assert fed[-2:] == [(1, 3, 300, 364), (1, 3, 300, 364)]
    assert (found == expected).mean() > 0.8  # a network that has seen little, and sees all of an image
    assert "going on with halves of it" in caplog.text


def test_labels_made_in_stripes_are_those_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(5, 30, 40, generator=torch.Generator().manual_seed(0))
    whole = module._classes(logits, (211, 163))
    monkeypatch.setattr(module, "STRIPE_PIXELS", 163 * 20)
    stripes = module._classes(logits, (211, 163))
    assert stripes.shape == whole.shape
    assert (stripes == whole).mean() > 0.9999  # where two are almost equal, rounding decides
