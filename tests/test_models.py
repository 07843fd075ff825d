"""Every architecture of the catalogue: sizes, training, parameters, weights that are there and weights that are not."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import SMALL
from torch import nn

from segsweep.trainables.catalog import MODELS
from segsweep.trainables.components import Outputs, Problem, Task, WeightsError
from segsweep.trainables.model_options import Freeze
from segsweep.trainables.models._sizes import AnySize
from segsweep.trainables.models._smp import SmpOptions
from segsweep.trainables.parts import part_of, stages_of
from segsweep.trainables.training.freezing import freezing
from segsweep.trainables.training.network_costs import gmacs

PYRAMID_MODELS = ["fpn", "linknet", "manet", "smp_segformer", "unet", "unetplusplus", "upernet"]
DILATED_MODELS = ["deeplabv3", "deeplabv3plus", "fcn_dilated", "pan", "pspnet"]
SMP_MODELS = [*PYRAMID_MODELS, *DILATED_MODELS, "fcn", "smp_pspnet"]


def task(
    num_classes: int = 5, image_size: tuple[int, int] = (64, 64), batch_size: int = 2, in_channels: int = 3
) -> Task:
    return Task(num_classes, image_size, batch_size, in_channels)


def build(name: str, num_classes: int = 5, in_channels: int = 3, **options: Any) -> nn.Module:
    component = MODELS.get(name)
    return component.build(component.Options(**options), task(num_classes, in_channels=in_channels))


def build_small(name: str, num_classes: int = 5, in_channels: int = 3) -> nn.Module:
    return build(name, num_classes, in_channels, **SMALL.get(name, {}))


def training_loss(output: torch.Tensor | Outputs, labels: torch.Tensor) -> torch.Tensor:
    """Of everything that a network returns while it trains: cross-entropy of all logits, and the loss of its own."""
    if isinstance(output, torch.Tensor):
        return nn.functional.cross_entropy(output, labels)
    logits = [(1.0, output.logits), *output.auxiliary]
    total = torch.stack([weight * nn.functional.cross_entropy(each, labels) for weight, each in logits]).sum()
    return total + output.own_loss(labels) if output.own_loss else total


def problems(name: str, given: Task | None = None, **options: Any) -> list[Problem]:
    component = MODELS.get(name)
    return list(component.check(component.Options(**options), given or task()))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a connection was attempted: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty Hugging Face cache on a machine that is offline."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", MODELS.names())
def test_default_fits_an_ordinary_task_and_needs_no_network(name: str, no_network: None) -> None:
    assert problems(name) == []
    # in no time and without the memory; SMP's mit_* read values while they are built
    with torch.device("cpu" if name == "smp_segformer" else "meta"):
        assert isinstance(build(name), nn.Module)


@pytest.mark.parametrize("size", [(64, 64), (97, 130), (33, 20), (1, 1)])
@pytest.mark.parametrize("name", MODELS.names())
def test_logits_have_the_size_of_the_images(name: str, size: tuple[int, int]) -> None:
    model = build_small(name).eval()
    with torch.no_grad():
        logits = model(torch.randn(1, 3, *size))
    assert logits.shape == (1, 5, *size)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", MODELS.names())
def test_padding_repeats_the_border_and_is_cut_off_again(name: str) -> None:
    model = build_small(name).eval()
    assert isinstance(model, AnySize), "brings images to its size in a way of its own: except it, and test that"
    images = torch.randn(1, 3, 50, 70)
    padded = torch.nn.functional.pad(images, (0, -70 % model.stride, 0, -50 % model.stride), mode="replicate")
    with torch.no_grad():
        torch.testing.assert_close(model(images), model(padded)[:, :, :50, :70])


@pytest.mark.parametrize("name", MODELS.names())
def test_batch_of_one_trains_every_parameter(name: str) -> None:
    model = build_small(name).train()
    training_loss(model(torch.randn(1, 3, 64, 64)), torch.randint(5, (1, 64, 64))).backward()
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert torch.isfinite(parameter.grad).all(), parameter_name


@pytest.mark.parametrize("name", MODELS.names())
def test_model_learns_which_half_is_which(name: str) -> None:
    torch.manual_seed(0)
    model = build_small(name, num_classes=2).train()
    labels = torch.zeros(2, 64, 64, dtype=torch.long)
    labels[0, :, 32:], labels[1, 32:] = 1, 1
    images = (2.0 * labels - 1)[:, None].expand(2, 3, 64, 64) + 0.1 * torch.randn(2, 3, 64, 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses: list[float] = []
    while len(losses) < 40 and (len(losses) < 3 or max(losses[-2:]) >= 0.6 * losses[0]):
        loss = training_loss(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert max(losses[-2:]) < 0.6 * losses[0]


@pytest.mark.parametrize("in_channels", [1, 4])
@pytest.mark.parametrize("name", MODELS.names())
def test_images_may_have_other_than_three_channels(name: str, in_channels: int) -> None:
    with torch.no_grad():
        logits = build_small(name, in_channels=in_channels).eval()(torch.randn(1, in_channels, 64, 64))
    assert logits.shape == (1, 5, 64, 64)


@pytest.mark.parametrize("name", MODELS.names())
def test_state_survives_a_weights_only_checkpoint(name: str, tmp_path: Path) -> None:
    model, other, images = build_small(name).eval(), build_small(name).eval(), torch.randn(1, 3, 64, 64)
    torch.save(model.state_dict(), tmp_path / "last.pt")
    other.load_state_dict(torch.load(tmp_path / "last.pt", weights_only=True))
    with torch.no_grad():
        assert torch.equal(model(images), other(images))
        assert torch.equal(model(images), model(images))


# parameters in millions and GMAC at 512x512, as measured independently; SegFormer with 150 classes, the others with 19
SIZES = [
    ("segformer", {"encoder": "mit_b0"}, 3.75, 8.4),
    ("segformer", {"encoder": "mit_b1"}, 13.7, 15.9),
    ("segformer", {"encoder": "mit_b2"}, 27.5, 62.3),
    ("segformer", {"encoder": "mit_b3"}, 47.3, 79.0),
    ("segformer", {"encoder": "mit_b4"}, 64.1, 95.6),
    ("segformer", {"encoder": "mit_b5"}, 84.7, 111.5),
    ("unet", {"encoder": "resnet34"}, 24.4, 31.9),
    ("unet", {"encoder": "resnet50"}, 32.5, 43.2),
    ("unet", {"encoder": "efficientnet-b0"}, 6.3, 12.5),
    ("unetplusplus", {"encoder": "resnet34"}, 26.1, 74.2),
    ("manet", {"encoder": "resnet34"}, 31.8, 34.0),
    ("linknet", {"encoder": "resnet34"}, 21.8, 20.3),
    ("fpn", {"encoder": "resnet34"}, 23.2, 27.5),
    ("fpn", {"encoder": "resnet50"}, 26.1, 31.2),
    ("fpn", {"encoder": "tu-hrnet_w18"}, 13.1, 27.0),
    ("smp_pspnet", {"encoder": "resnet50"}, 24.4, 12.0),
    ("pan", {"encoder": "resnet34"}, 21.5, 29.9),
    ("deeplabv3", {"encoder": "resnet50"}, 39.6, 163.6),
    ("deeplabv3plus", {"encoder": "resnet50"}, 26.7, 36.6),
    ("deeplabv3plus", {"encoder": "mobilenet_v2"}, 4.4, 6.0),
    ("upernet", {"encoder": "resnet50"}, 37.3, 76.5),
    ("upernet", {"encoder": "tu-convnext_tiny"}, 37.1, 76.5),
    ("smp_segformer", {"encoder": "mit_b0"}, 3.7, 7.8),
    ("smp_segformer", {"encoder": "mit_b3"}, 44.6, 41.8),
    ("fcn_dilated", {"auxiliary_weight": 0}, 33.0, 138),
    ("pspnet", {}, 48.97, 178.45),  # mmsegmentation, whose ResNet begins with three small convolutions
]


@pytest.mark.parametrize(("name", "options", "millions", "giga"), SIZES)
def test_parameters_and_work_are_the_known_ones(
    name: str, options: Mapping[str, Any], millions: float, giga: float
) -> None:
    with torch.device("cpu" if name == "smp_segformer" else "meta"):  # SMP's mit_* compute with values when built
        model = build(name, num_classes=150 if name == "segformer" else 19, **options).to("meta")
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)
    assert gmacs(model, (512, 512), torch.device("meta")) == pytest.approx(giga, rel=0.01)


@pytest.mark.parametrize(
    ("name", "options", "millions", "giga"),
    [  # the papers' own figures for Cityscapes
        ("ddrnet", {"variant": "23-slim", "auxiliary_weight": 0}, 5.7, 36.3),
        ("ddrnet", {"variant": "23", "auxiliary_weight": 0}, 20.1, 143.1),
        ("hrnet", {"encoder": "tu-hrnet_w48"}, 65.9, 747.3),
    ],
)
def test_parameters_and_work_at_full_size_are_those_of_the_papers(
    name: str, options: Mapping[str, Any], millions: float, giga: float
) -> None:
    with torch.device("meta"):
        model = build(name, num_classes=19, **options)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)
    assert gmacs(model, (1024, 2048), torch.device("meta")) == pytest.approx(giga, rel=0.01)


@pytest.mark.parametrize(
    ("name", "options", "theirs"),
    [("lraspp", {}, "lraspp_mobilenet_v3_large"), ("fcn_dilated", {"auxiliary_weight": 0}, "fcn_resnet50")],
)
def test_network_is_as_large_as_that_of_torchvision(name: str, options: Mapping[str, Any], theirs: str) -> None:
    from torchvision.models import segmentation

    with torch.device("meta"):
        ours = build(name, num_classes=19, **options)
        other = getattr(segmentation, theirs)(weights=None, weights_backbone=None, num_classes=19)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in other.parameters())
    meta = torch.device("meta")
    assert gmacs(ours, (512, 512), meta) == pytest.approx(gmacs(other, (512, 512), meta), rel=1e-3)


def test_unet_2015_has_the_parameters_of_its_figure() -> None:
    widths = [1, 64, 128, 256, 512, 1024]
    down = sum(9 * a * b + b + 9 * b * b + b for a, b in itertools.pairwise(widths))
    up = sum(4 * 2 * b * b + b + 9 * 2 * b * b + b + 9 * b * b + b for b in widths[1:-1])
    with torch.device("meta"):
        model = build("unet_2015", num_classes=2, in_channels=1, batch_norm=False)
    assert sum(p.numel() for p in model.parameters()) == down + up + 64 * 2 + 2


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear", "nearest"])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_unet_2015_trains_with_and_without_batchnorm(upsampling: str, batch_norm: bool) -> None:
    model = build("unet_2015", width=8, upsampling=upsampling, batch_norm=batch_norm).train()
    logits = model(torch.randn(1, 3, 40, 50))
    assert logits.shape == (1, 5, 40, 50)
    logits.square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_segnet_encodes_as_vgg16() -> None:
    from torchvision.models import vgg16_bn

    with torch.device("meta"):
        ours, theirs = build("segnet").get_submodule("network.encoder"), vgg16_bn().features
    shapes = [[tuple(m.weight.shape) for m in net.modules() if isinstance(m, nn.Conv2d)] for net in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_finer_fcn_begins_as_fcn_32s_and_upsamples_bilinearly() -> None:
    coarse = build("fcn", encoder="resnet18", stride=32).eval()
    fine = build("fcn", encoder="resnet18", stride=8).eval()
    fine.load_state_dict(coarse.state_dict(), strict=False)
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        scores = coarse.get_submodule("network")(images)
        once = fine.get_submodule("network.head.upsamplings.0")(scores)
        again = fine.get_submodule("network.head.upsamplings.1")(once)
        torch.testing.assert_close(fine.get_submodule("network")(images), again)  # the skips add nothing yet
    bilinear = nn.functional.interpolate(scores, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(once[:, :, 1:-1, 1:-1], bilinear[:, :, 1:-1, 1:-1])  # the border meets the padding


def test_hrnet_takes_hrnets_only() -> None:
    (problem,) = problems("hrnet", encoder="resnet34")
    assert problem.message.startswith("resnet34 is no HRNet; known: tu-hrnet_w18, ")
    assert problems("hrnet", encoder="tu-hrnet_w30.ms_in1k", encoder_weights="imagenet") == []


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "tu-mobilenetv3_small_050", "tu-swin_tiny_patch4_window7_224"])
@pytest.mark.parametrize("name", PYRAMID_MODELS)
def test_other_encoders_train_at_any_size(name: str, encoder: str) -> None:
    assert problems(name, encoder=encoder) == []
    model = build(name, encoder=encoder).train()
    logits = model(torch.randn(1, 3, 72, 100))
    logits.square().mean().backward()
    assert logits.shape == (1, 5, 72, 100)


@pytest.mark.parametrize(
    ("name", "options", "family"),
    [
        ("unet", {}, "cnn"),
        ("fpn", {"encoder": "mit_b0"}, "transformer"),
        ("linknet", {"encoder": "tu-swin_tiny_patch4_window7_224"}, "transformer"),
        ("linknet", {"encoder": "tu-convnext_atto"}, "cnn"),
        ("segformer", {}, "transformer"),
    ],
)
def test_family_decides_which_learning_rates_are_searched(name: str, options: Mapping[str, Any], family: str) -> None:
    component = MODELS.get(name)
    assert component.family(component.Options(**options)) == family


def test_encoder_is_the_second_half_of_the_models_name() -> None:
    names = {name: MODELS.get(name).encoder(MODELS.get(name).Options()) for name in MODELS.names()}
    assert names.items() >= {"unet": "resnet34", "segformer": "mit_b0", "pspnet": "resnet50"}.items()


NARROWER: Mapping[str, Mapping[str, Any]] = {
    "deeplabv3": {"decoder_channels": 64},
    "deeplabv3plus": {"decoder_channels": 64},
    "dpt": {"decoder_channels": 64, "reassemble_channels": (64, 64, 64, 64)},
    "fcn_dilated": {"decoder_channels": 64},
    "fpn": {"pyramid_channels": 64, "segmentation_channels": 32},
    "manet": {"decoder_channels": (64, 32, 16, 16, 16), "attention_channels": 16},
    "pan": {"decoder_channels": 16},
    "pspnet": {"decoder_channels": 64},
    "segformer": {"decoder_width": 64},
    "smp_pspnet": {"decoder_channels": 64},
    "smp_segformer": {"encoder": "resnet18", "decoder_width": 64},
    "unet": {"decoder_channels": (64, 32, 16, 16, 16)},
    "bisenetv2": {"head_channels": 64},
    "lraspp": {"decoder_channels": 64},
    "segnet": {"width": 8},
    "unet_2015": {"width": 8},
    "unetplusplus": {"decoder_channels": (64, 32, 16, 16, 16)},
    "upernet": {"decoder_channels": 64},
}


@pytest.mark.parametrize("name", NARROWER)
def test_decoders_can_be_made_smaller(name: str) -> None:
    narrower = NARROWER[name]
    encoder = {key: value for key, value in narrower.items() if key == "encoder"}
    with torch.device("meta"):
        default, smaller = build(name, **encoder), build(name, **narrower)
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in default.parameters())


@pytest.mark.parametrize("name", ["fpn", "manet", "pan", "unet", "unetplusplus"])
def test_upsampling_of_the_decoder_can_be_chosen(name: str) -> None:
    torch.manual_seed(0)
    nearest = build(name, encoder="tu-resnet10t", upsampling="nearest").eval()
    bilinear = build(name, encoder="tu-resnet10t", upsampling="bilinear").eval()
    bilinear.load_state_dict(nearest.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(nearest(images), bilinear(images), atol=1e-4)


@pytest.mark.parametrize("name", ["deeplabv3", "deeplabv3plus", "fcn_dilated", "pspnet", "upernet"])
def test_auxiliary_head_is_there_only_while_training(name: str) -> None:
    model = build(name, encoder="tu-resnet10t", auxiliary_weight=0.4).train()
    images = torch.randn(1, 3, 50, 70)
    outputs = model(images)
    assert isinstance(outputs, Outputs)
    ((weight, logits),) = outputs.auxiliary
    assert (weight, logits.shape, outputs.logits.shape) == (0.4, (1, 5, 50, 70), (1, 5, 50, 70))
    assert isinstance(model.eval()(images), torch.Tensor)
    assert isinstance(build(name, encoder="tu-resnet10t", auxiliary_weight=0).train()(images), torch.Tensor)


@pytest.mark.parametrize("encoder", ["vgg16", "densenet121", "tu-swin_tiny_patch4_window7_224"])
@pytest.mark.parametrize("name", DILATED_MODELS)
def test_encoders_that_cannot_be_dilated_are_reported_and_not_built(name: str, encoder: str) -> None:
    (problem,) = problems(name, encoder=encoder)
    stride = 8 if name in ("deeplabv3", "pspnet", "fcn_dilated") else 16
    assert problem.option == "encoder"
    assert problem.message.startswith(
        f"{encoder} cannot stop at a stride of {stride}, since its strides do not become "
    )
    with pytest.raises((ValueError, TypeError)), torch.device("meta"):
        build(name, encoder=encoder)


def test_pan_at_a_stride_of_32_takes_any_encoder() -> None:
    assert problems("pan", encoder="vgg11", output_stride=32) == []
    with torch.no_grad():
        assert build("pan", encoder="vgg11", output_stride=32).eval()(torch.randn(1, 3, 70, 50)).shape == (1, 5, 70, 50)


def test_stages_that_no_logit_depends_on_are_not_trained() -> None:
    model = build("smp_pspnet", encoder="resnet18")
    trained = {name.split(".")[2] for name, p in model.named_parameters() if p.requires_grad and ".encoder." in name}
    assert trained == {"conv1", "bn1", "layer1", "layer2"}


def test_dpt_takes_vits_of_timm_and_says_so() -> None:
    (pyramid,) = problems("dpt", encoder="resnet34")
    assert pyramid.message.startswith("no ViT 'resnet34'. ")
    (spelled,) = problems("dpt", encoder="tu-vit_tiny_patch16_24")
    assert "Did you mean 'tu-vit_tiny_patch16_224'?" in spelled.message
    with pytest.raises(ValueError, match="no ViT 'resnet34'"):
        build("dpt", encoder="resnet34")
    (tokens,) = problems("dpt", encoder="tu-vit_base_patch16_siglip_224", readout="cat")
    assert tokens == (
        "readout",
        "tu-vit_base_patch16_siglip_224 has no class token to cat; give ignore, or leave it out",
    )


@pytest.mark.parametrize("name", SMP_MODELS)
def test_unknown_encoder_is_reported_and_not_built(name: str) -> None:
    (problem,) = problems(name, encoder="resnet43")
    assert problem.option == "encoder"
    assert "Did you mean 'resnet34'?" in problem.message
    with pytest.raises(ValueError, match="no encoder 'resnet43'"):
        build(name, encoder="resnet43")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"encoder": "resnet34", "encoder_weights": "None"},
            "resnet34 has no weights 'None'. Did you mean 'none'? Known: none, imagenet",
        ),
        (
            {"encoder": "resnet18", "encoder_weights": "imagnet"},
            "resnet18 has no weights 'imagnet'. Did you mean 'imagenet'? Known: none, imagenet, ssl, swsl",
        ),
        (
            {"encoder": "tu-resnet18.a1_in1k"},
            "the tag '.a1_in1k' names weights that encoder_weights: none leaves out; "
            "drop the tag, or set encoder_weights: imagenet",
        ),
    ],
)
@pytest.mark.parametrize("name", SMP_MODELS)
def test_weights_that_cannot_be_meant_are_reported(name: str, options: Mapping[str, Any], message: str) -> None:
    assert [problem.message for problem in problems(name, **options)] == [message]


@pytest.mark.parametrize("name", PYRAMID_MODELS)
def test_single_images_that_batchnorm_cannot_take_are_reported(name: str) -> None:
    (tiny,) = problems(name, task(image_size=(32, 32), batch_size=1), encoder="resnet18")
    assert tiny.message.startswith("batch_size 1 at image_size 32x32 leaves BatchNorm a single value per channel")
    with pytest.raises(ValueError, match="more than 1 value per channel"):  # the promise is about what torch does
        build(name, encoder="resnet18").train()(torch.randn(1, 3, 32, 32))
    assert problems(name, task(image_size=(32, 33), batch_size=1), encoder="resnet18") == []
    assert problems(name, task(image_size=(32, 32), batch_size=2), encoder="resnet18") == []


def test_fpn_refuses_images_that_leave_groupnorm_one_value() -> None:
    (found,) = problems("fpn", task(image_size=(20, 30), batch_size=3), encoder="resnet18", segmentation_channels=32)
    assert found.message.startswith("32 at image_size 20x30 leave GroupNorm a single value per group")
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        build("fpn", encoder="resnet18", segmentation_channels=32).eval()(torch.randn(1, 3, 20, 30))


@pytest.mark.filterwarnings("ignore:`timm-` encoders are deprecated:DeprecationWarning")
def test_encoder_that_pools_before_batchnorm_wants_two_images() -> None:
    (pooled,) = problems("unet", task(batch_size=1), encoder="timm-skresnet18")
    assert "takes a batch_size of at least 2" in pooled.message
    assert problems("unet", task(batch_size=2), encoder="timm-skresnet18") == []
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        build("unet", encoder="timm-skresnet18").train()(torch.randn(1, 3, 64, 64))


@pytest.mark.parametrize("name", ["linknet", "unetplusplus"])
def test_encoders_that_smp_refuses_for_one_architecture_are_reported(name: str) -> None:
    (problem,) = problems(name, encoder="mit_b0")
    assert (problem.option, "mit_*" in problem.message) == ("encoder", True)
    with pytest.raises(ValueError, match="not support"):
        build(name, encoder="mit_b0")
    assert problems("unet", encoder="mit_b0") == problems("fpn", encoder="mit_b0") == []


def test_smp_weights_that_are_not_there_come_with_what_to_put_where(hub_cache: Path) -> None:
    with pytest.raises(WeightsError) as missing:
        build("unet", encoder="resnet18", encoder_weights="imagenet")
    message = str(missing.value)
    assert message.startswith("encoder_weights 'imagenet' of 'resnet18' cannot be loaded (")
    assert "hf download smp-hub/resnet18.imagenet --revision " in message
    assert str(hub_cache) in message
    assert message.endswith("or set encoder_weights: none")


def test_smp_weights_put_into_the_cache_are_loaded(hub_cache: Path, no_network: None) -> None:
    from safetensors.torch import save_file
    from segmentation_models_pytorch.encoders import encoders as smp_encoders
    from segmentation_models_pytorch.encoders import get_encoder

    settings = smp_encoders["resnet18"]["pretrained_settings"]["imagenet"]
    folder = hub_cache / f"models--{settings['repo_id'].replace('/', '--')}" / "snapshots" / settings["revision"]
    folder.mkdir(parents=True)
    theirs = get_encoder("resnet18", weights=None)
    save_file(theirs.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text("{}")

    ours = build("fpn", encoder="resnet18", encoder_weights="imagenet").get_submodule("network.encoder")
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_timm_weights_that_are_not_there_come_with_what_to_put_where(hub_cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"`hf download timm/resnet18\.a1_in1k`"):
        build("unet", encoder="tu-resnet18", encoder_weights="imagenet")
    with pytest.raises(WeightsError, match=r"timm has no weights for 'tu-resnet18\.a9'. Known: tu-resnet18\.a1_in1k"):
        build("unet", encoder="tu-resnet18.a9", encoder_weights="imagenet")


def test_timm_weights_put_into_the_cache_are_loaded(hub_cache: Path, no_network: None) -> None:
    import timm
    from safetensors.torch import save_file

    repository = hub_cache / "models--timm--resnet10t.c3_in1k"
    (repository / "snapshots/0" / "x").parent.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("0")
    theirs = timm.create_model("resnet10t")
    save_file(theirs.state_dict(), repository / "snapshots/0/model.safetensors")

    ours = build("unet", encoder="tu-resnet10t", encoder_weights="imagenet").get_submodule("network.encoder.model")
    assert torch.equal(ours.get_parameter("layer4.0.conv1.weight"), theirs.get_parameter("layer4.0.conv1.weight"))


@pytest.fixture
def segformer_folder(tmp_path: Path) -> Path:
    """A b0 for 7 classes as save_pretrained of transformers leaves it."""
    build("segformer", num_classes=7).get_submodule("network.network").save_pretrained(tmp_path / "b0")  # type: ignore[operator]
    return tmp_path / "b0"


def test_segformer_takes_encoder_and_fitting_head_from_a_folder(segformer_folder: Path, no_network: None) -> None:
    theirs = build("segformer", num_classes=7, encoder_weights=str(segformer_folder)).state_dict()
    ours = build("segformer", num_classes=5, encoder_weights=str(segformer_folder)).state_dict()
    classifier = {name for name in ours if ".decode_head.classifier." in name}
    assert len(classifier) == 2
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() - classifier)
    assert all(len(ours[name]) == 5 for name in classifier)


def test_segformer_weights_are_those_of_the_folder(tmp_path: Path) -> None:
    saved = build("segformer").get_submodule("network.network")
    saved.save_pretrained(tmp_path)  # type: ignore[operator]
    loaded = build("segformer", encoder_weights=str(tmp_path)).get_submodule("network.network")
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), loaded.parameters(), strict=True))


def test_segformer_weights_of_another_variant_are_refused(segformer_folder: Path) -> None:
    with pytest.raises(WeightsError, match="are those of mit_b0, but encoder is mit_b2; make the two agree"):
        build("segformer", encoder="mit_b2", encoder_weights=str(segformer_folder))


def test_segformer_weights_that_lack_the_encoder_are_refused(segformer_folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(segformer_folder / "model.safetensors")
    head = {name: value for name, value in weights.items() if name.startswith("decode_head.")}
    save_file(head, segformer_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lack \d+ tensors, such as segformer\."):
        build("segformer", encoder_weights=str(segformer_folder))


def test_segformer_weights_that_are_not_there_come_with_what_to_put_where(hub_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="`hf download nvidia/mit-b0`"):
        build("segformer", encoder_weights="nvidia/mit-b0")
    with pytest.raises(WeightsError, match=r"Give a folder with config\.json and model\.safetensors"):
        build("segformer", encoder_weights=str(tmp_path / "nothing"))


def test_checking_options_imports_no_heavy_library() -> None:
    code = """
import json, sys
from segsweep.trainables import catalog
from segsweep.trainables.components import Task
task = Task(5, (64, 64), 2)
for models in (catalog.MODELS, catalog.LOSSES):
    for name in set(models.names()) - {"sum"}:
        component = models.get(name)
        list(component.check(component.Options(), task))
unet = catalog.MODELS.get("unet")
list(unet.check(unet.Options(encoder="tu-resnet43"), task))
for other in (catalog.OPTIMIZERS, catalog.LR_SCHEDULES):
    for component in map(other.get, other.names()):
        component.Options.model_json_schema()
heavy = {"torch", "timm", "transformers", "segmentation_models_pytorch", "numpy", "huggingface_hub"}
print(json.dumps(sorted(heavy & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("name", MODELS.names())
def test_every_architecture_has_an_encoder_with_stages_which_can_be_frozen(name: str) -> None:
    model = build_small(name)
    parts = {parameter: part_of(parameter) for parameter, _ in model.named_parameters()}
    assert {*parts.values()} > {"encoder"}, f"{name}: parts.py tells parts by the names of modules"
    stages = stages_of(model)
    assert {*stages.values()} == set(range(1, max(stages.values()) + 1)) > {1}

    held = freezing(Freeze(parts=("encoder",)), model)
    model.train()
    held.hold(1)
    before = {parameter: tensor.clone() for parameter, tensor in model.state_dict().items()}
    training_loss(model(torch.randn(2, 3, 64, 64)), torch.randint(0, 5, (2, 64, 64))).backward()
    assert {parts[parameter] for parameter, p in model.named_parameters() if p.grad is not None} > set()
    assert all(p.grad is None for parameter, p in model.named_parameters() if parts[parameter] == "encoder")
    after = model.state_dict()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items() if part_of(key) == "encoder")


@pytest.mark.parametrize("name", MODELS.names())
def test_no_encoder_has_more_stages_than_its_model_says(name: str) -> None:
    options: Any = MODELS.get(name).Options
    if options.most_stages is None:  # found when it is built
        return
    stages = max(stages_of(build_small(name)).values())
    assert stages <= options.most_stages if issubclass(options, SmpOptions) else stages == options.most_stages
