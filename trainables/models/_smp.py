"""What the models of segmentation_models_pytorch (SMP) share: an encoder of its list below a decoder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from segsweep.trainables.catalog import did_you_mean
from segsweep.trainables.components import Family, Problem, Task, WeightsError
from segsweep.trainables.models import _encoders as encoders
from segsweep.trainables.models._smp_weights import SmpWeights
from segsweep.trainables.weights.hub import unavailable
from segsweep.trainables.weights.sources import encoder_source

if TYPE_CHECKING:
    from torch import nn

Architecture = Literal[
    "Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PAN", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "UPerNet",
    "Segformer", "DPT",
]  # fmt: skip
Upsampling = Literal["nearest", "bilinear"]

STRIDE = 32  # five halvings; every listed encoder has them

logger = logging.getLogger(__name__)


class SmpOptions(SmpWeights):
    """`encoder` is a name of SMP or tu- and a name of timm."""

    most_stages = 5  # the halvings; transformers have 4


def family_of(options: SmpOptions) -> Family:
    found = encoders.find(options.encoder)
    return found.family if found else "cnn"


def problems(options: SmpOptions, task: Task, stride: int = STRIDE) -> Iterator[Problem]:
    """Why the encoder cannot be built or trained. stride: of its coarsest map; below 32 the encoder is dilated."""
    found = encoders.find(options.encoder)
    if found is None:
        yield Problem("encoder", encoders.unknown(options.encoder))
        return
    yield from weights_problems(options, found)
    if stride < STRIDE and not found.dilates:
        message = f"{found.name} cannot stop at a stride of {stride}, since its strides do not become dilations"
        yield Problem(
            "encoder", f"{message}; resnet50 and mobilenet_v2 can, and unet, fpn and upernet need none that do"
        )
    yield from batch_problems(found, task, stride)


def weights_problems(options: SmpOptions, found: encoders.Encoder) -> Iterator[Problem]:
    """Why `encoder_weights` cannot be meant, or the tag in the encoder's name."""
    known = ("none", *found.weights)
    if encoder_source(options.encoder_weights).kind == "name" and options.encoder_weights not in known:
        hint = did_you_mean(options.encoder_weights, known)
        message = f"{found.name} has no weights '{options.encoder_weights}'.{hint} Known: {', '.join(known)}"
        yield Problem("encoder_weights", message)
    elif options.encoder_weights == "none" and options.encoder != found.name:
        tag = options.encoder.removeprefix(f"{found.name}.")
        message = f"the tag '.{tag}' names weights that encoder_weights: none leaves out"
        yield Problem("encoder", f"{message}; drop the tag, or set encoder_weights: imagenet")


def batch_problems(found: encoders.Encoder, task: Task, stride: int) -> Iterator[Problem]:
    """Why the encoder's BatchNorm cannot train on single images."""
    if task.batch_size == 1 and found.min_batch == 2:
        message = f"{found.name} normalises over the batch after global pooling"
        yield Problem("encoder", f"{message}, which takes a batch_size of at least 2")
    elif task.batch_size == 1 and found.family == "cnn" and max(task.image_size) <= stride:
        height, width = task.image_size
        message = f"batch_size 1 at image_size {height}x{width} leaves BatchNorm a single value per channel"
        yield Problem("encoder", f"{message}; train with at least 2 images or more than {stride} px")


def build_smp(architecture: Architecture, options: SmpOptions, task: Task, **decoder: object) -> nn.Module:
    """SMP's `architecture` for images whose sides are multiples of its stride.

    Raises WeightsError, and ValueError for an unknown encoder.
    """
    return assemble(architecture, options, task, **decoder, **_encoder_arguments(options))


def build_encoder(options: SmpOptions, task: Task, output_stride: int = STRIDE) -> nn.Module:
    """Images (N, C_in, H, W) to six maps: the images, then one a halving; those beyond `output_stride` stay there.

    Its `out_channels` are theirs. Raises WeightsError, and ValueError for an unknown encoder.
    """
    from segmentation_models_pytorch.encoders import get_encoder

    arguments = _encoder_arguments(options)
    with weights_at_hand(options):
        encoder: nn.Module = get_encoder(
            options.encoder, task.in_channels, weights=_weights(options), output_stride=output_stride, **arguments
        )
    return encoder


def assemble(architecture: Architecture, options: SmpOptions, task: Task, **further: object) -> nn.Module:
    """SMP's `architecture` with whatever encoder it takes. Raises WeightsError."""
    import segmentation_models_pytorch as smp

    from segsweep.trainables.models._norms import lenient

    with weights_at_hand(options):
        network: nn.Module = getattr(smp, architecture)(
            encoder_name=options.encoder,
            encoder_weights=_weights(options),
            in_channels=task.in_channels,
            classes=task.num_classes,
            **further,
        )
    lenient(network.get_submodule("decoder"))  # its pooled maps have a single value
    return network


def _encoder_arguments(options: SmpOptions) -> dict[str, bool]:
    found = encoders.find(options.encoder)
    if found is None:
        raise ValueError(encoders.unknown(options.encoder))
    if options.encoder_weights != "none" and found.name.startswith("mit_"):
        logger.warning("%s: NVIDIA licenses these weights for non-commercial use only", found.name)
    return {"strict_img_size": False} if found.flexible else {}


@contextmanager
def weights_at_hand(options: SmpOptions) -> Iterator[None]:
    """Raises WeightsError where what is built inside cannot have the weights."""
    _check_tag(options)
    try:
        yield
    except OSError as error:  # every error of the hub is one
        weights = f"encoder_weights '{options.encoder_weights}' of '{options.encoder}'"
        published = options.published()
        download = " --revision ".join(filter(None, published[:2])) if published else ""
        raise unavailable(weights, download, error) from error


def freeze_unused(network: nn.Module, task: Task) -> nn.Module:
    """`network` without gradients for what its logits do not depend on: stages of the encoder beyond the last used."""
    import torch

    parameters = list(network.parameters())
    network.eval()  # so that no statistic moves
    with torch.enable_grad():
        logits = network(torch.zeros(1, task.in_channels, 2 * STRIDE, 2 * STRIDE, device=parameters[0].device))
        gradients = torch.autograd.grad(logits.sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
    return network.train()


def _weights(options: SmpOptions) -> str | bool | None:
    """What SMP understands: None for none, and for timm a switch, since the tag is in the name."""
    if encoder_source(options.encoder_weights).kind != "name":  # none, or loaded after the network is built
        return None
    return True if options.encoder.startswith("tu-") else options.encoder_weights


def _check_tag(options: SmpOptions) -> None:
    """Raises WeightsError for a tag that timm does not have, or a timm model without weights."""
    if not options.encoder.startswith("tu-"):
        return
    import timm

    name = options.encoder.removeprefix("tu-")
    tags = timm.list_pretrained(f"{name.split('.')[0]}.*")
    if ("." in name and name not in tags) or (_weights(options) and not tags):
        known = ", ".join(f"tu-{tag}" for tag in tags) or "none; set encoder_weights: none"
        raise WeightsError(f"timm has no weights for '{options.encoder}'. Known: {known}")
