"""From images to classes: windows, mirroring and scales average what they say they do, at any size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segsweep.trainables.config import Evaluation
from segsweep.trainables.scoring import inference
from segsweep.trainables.scoring.inference import predict, predicted_classes, windows


def random_logits(classes: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(classes, height, width, generator=torch.Generator().manual_seed(seed))


def random_images(height: int, width: int) -> Tensor:
    return torch.stack([random_logits(3, height, width, seed) for seed in (1, 2)])


class PerPixel(nn.Module):
    """Two classes; each pixel's logits depend on that pixel alone, so windows and mirroring change nothing."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([images[:, 0], images[:, 1] + images[:, 2]], dim=1)


class LeftHalf(nn.Module):
    """Sees class 1 in the left half of whatever it is given, with the same certainty everywhere."""

    def forward(self, images: Tensor) -> Tensor:
        left = torch.zeros(len(images), *images.shape[-2:])
        left[..., : images.shape[-1] // 2] = 4.0
        return torch.stack([torch.zeros_like(left), left], dim=1)


class Shapes(nn.Module):
    """Notes what it is fed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        return images[:, :2]


# -- the class of every pixel -----------------------------------------------------------------------------------------


def upsampled(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits[None].float(), size, mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("factors", [(4, 4), (2, 2), (1, 1), (8, 2)])
@pytest.mark.parametrize("classes", [2, 19])
def test_classes_are_exactly_those_of_interpolate_and_argmax(factors: tuple[int, int], classes: int) -> None:
    logits = random_logits(classes, 33, 47)
    size = (33 * factors[0], 47 * factors[1])
    assert torch.equal(predicted_classes(logits, size).long(), upsampled(logits, size).argmax(0))


@pytest.mark.parametrize("seed", range(12))
def test_at_any_size_they_differ_only_between_logits_that_rounding_makes_equal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width, target_height, target_width = (int(n) for n in rng.integers(1, [60, 60, 300, 300]))
    logits = random_logits(int(rng.integers(2, 20)), height, width, seed)
    planes = upsampled(logits, (target_height, target_width))
    found = predicted_classes(logits, (target_height, target_width))
    lost = planes.amax(0) - planes.gather(0, found.long()[None])[0]
    assert float(lost.max()) < 1e-5
    assert int((lost > 0).sum()) <= 2


@pytest.mark.parametrize("way", [inference._by_opencv, inference._by_torch])
def test_equal_logits_go_to_the_lower_class(way: object) -> None:
    assert callable(way)
    logits = random_logits(7, 9, 12).round(decimals=1)
    logits[4] = logits[2]
    assert torch.equal(way(logits, (36, 48)).long(), upsampled(logits, (36, 48)).argmax(0))
    assert not way(torch.zeros(3, 2, 2), (4, 4)).any()


@pytest.mark.parametrize("classes_at_once", [1, 2, 3, 5, 7])
def test_upsampling_classes_a_few_at_a_time_changes_nothing(
    classes_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = random_logits(7, 9, 12).round(decimals=1)
    logits[4] = logits[2]  # ties go to the lower class, wherever the chunks end
    monkeypatch.setattr(inference, "UPSAMPLED_BYTES", classes_at_once * 4 * 37 * 51)
    assert torch.equal(inference._by_torch(logits, (37, 51)).long(), upsampled(logits, (37, 51)).argmax(0))


def test_logits_may_lie_in_memory_in_any_order_and_precision() -> None:
    logits = random_logits(5, 8, 8).bfloat16()
    strided = logits.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(predicted_classes(strided, (32, 32)), predicted_classes(logits.float(), (32, 32)))


# -- windows ----------------------------------------------------------------------------------------------------------


def test_windows_cover_every_pixel_and_end_at_the_edge() -> None:
    found = [(r.start, r.stop, c.start, c.stop) for r, c in windows((10, 12), (6, 8), 0.5)]
    assert found == [
        (0, 6, 0, 8), (0, 6, 4, 12),
        (3, 9, 0, 8), (3, 9, 4, 12),
        (4, 10, 0, 8), (4, 10, 4, 12),
    ]  # fmt: skip


@pytest.mark.parametrize(("image", "window"), [((8, 8), (8, 8)), ((9, 20), (8, 9)), ((31, 17), (10, 17))])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.9])
def test_no_pixel_is_left_out(image: tuple[int, int], window: tuple[int, int], overlap: float) -> None:
    seen = np.zeros(image, int)
    found = list(windows(image, window, overlap))
    for rows, columns in found:
        assert (rows.stop - rows.start, columns.stop - columns.start) == window
        seen[rows, columns] += 1
    assert seen.min() >= 1
    assert len({(rows.start, columns.start) for rows, columns in found}) == len(found)


@pytest.mark.parametrize("blend", ["mean", "gaussian"])
def test_windows_of_a_network_that_sees_single_pixels_change_nothing(blend: str) -> None:
    images = random_images(20, 31)
    sliding = Evaluation.model_validate({"method": "sliding_window", "window": (8, 12), "overlap": 0.5, "blend": blend})
    assert torch.allclose(predict(PerPixel(), images, sliding), PerPixel()(images), atol=1e-5)


def test_overlapping_windows_are_averaged_as_logits() -> None:
    sliding = Evaluation(method="sliding_window", window=(8, 8), overlap=0.5)
    logits = predict(LeftHalf(), torch.zeros(1, 3, 8, 12), sliding)  # windows at columns 0-7 and 4-11
    by_hand = torch.tensor([4, 4, 4, 4, 2, 2, 2, 2, 0, 0, 0, 0]).float()
    assert torch.equal(logits[0, 1], by_hand.expand(8, 12))


def test_a_gaussian_window_trusts_its_centre() -> None:
    sliding = Evaluation(method="sliding_window", window=(8, 8), overlap=0.5, blend="gaussian")
    logits = predict(LeftHalf(), torch.zeros(1, 3, 8, 12), sliding)
    near, far = (math.exp(-(offset**2) / 2) for offset in (0.5, 3.5))  # from the centre; sigma = 8 / 8
    # columns 4 to 7 lie in both windows: in the right half of the first, in the left half of the second
    assert float(logits[0, 1, 3, 4]) == pytest.approx(4 * far / (near + far), abs=1e-6)
    assert float(logits[0, 1, 3, 7]) == pytest.approx(4 * near / (near + far), abs=1e-6)


def test_a_window_larger_than_a_scaled_image_is_cut_to_it() -> None:
    model = Shapes()
    predict(
        model, random_images(16, 24), Evaluation(method="sliding_window", window=(16, 16), scales=(0.5,), overlap=0.0)
    )
    assert set(model.seen) == {(2, 3, 8, 12)}


# -- views ------------------------------------------------------------------------------------------------------------


def test_one_view_is_the_network_alone() -> None:
    images = random_images(8, 12)
    assert torch.equal(predict(PerPixel(), images, Evaluation()), PerPixel()(images))


def test_mirrored_views_are_averaged_as_probabilities() -> None:
    found = predict(LeftHalf(), torch.zeros(1, 3, 8, 8), Evaluation(flip=True)).softmax(dim=1)
    sure = math.exp(4) / (1 + math.exp(4))
    assert torch.allclose(found[0, 1], torch.full((8, 8), (sure + 0.5) / 2), atol=1e-6)
    assert torch.allclose(found.sum(dim=1), torch.ones(1, 8, 8))


def test_every_scale_is_fed_mirrored_and_not_and_comes_back_at_the_images_size() -> None:
    model = Shapes()
    found = predict(model, random_images(16, 24), Evaluation(scales=(0.5, 1.0, 1.5), flip=True))
    assert [shape[-2:] for shape in model.seen] == [(8, 12)] * 2 + [(16, 24)] * 2 + [(24, 36)] * 2
    assert found.shape == (2, 2, 16, 24)


def test_a_single_scale_other_than_1_is_used() -> None:
    model = Shapes()
    predict(model, random_images(16, 24), Evaluation(scales=(2.0,)))
    assert model.seen == [(2, 3, 32, 48)]


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"method": "sliding_window"}, {"window": (8, 8)}])
def test_windows_need_both_a_method_and_a_size(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="needs `window:"):
        Evaluation.model_validate(settings)


def test_settings_that_score_differently_read_differently() -> None:
    sliding = {"method": "sliding_window", "window": (512, 512)}
    settings = [
        {},
        {"flip": True},
        {"scales": (0.5, 1.0)},
        sliding,
        sliding | {"overlap": 0.5},
        sliding | {"blend": "gaussian"},
        sliding | {"window": (512, 768)},
    ]
    texts = [str(Evaluation.model_validate(chosen)) for chosen in settings]
    assert len(set(texts)) == len(texts)
    assert texts[0] == "whole"
    assert texts[3] == "sliding_window 512x512 overlap 0.25 mean"
    assert str(Evaluation(boundary=True)) == "whole"  # more scores, the others are the same
