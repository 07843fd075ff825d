"""What unet, fpn and linknet share: an encoder of segmentation_models_pytorch (SMP) below a decoder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from segsweep.trainables import encoders
from segsweep.trainables.catalog import did_you_mean
from segsweep.trainables.components import Family, Problem, Task, WeightsError
from segsweep.trainables.model_options import ModelOptions
from segsweep.trainables.models._weights import unavailable

if TYPE_CHECKING:
    from torch import nn

Architecture = Literal["Unet", "FPN", "Linknet"]

STRIDE = 32  # five halvings; every listed encoder has them

logger = logging.getLogger(__name__)


class SmpOptions(ModelOptions):
    """`encoder` is a name of SMP or tu- and a name of timm. `encoder_weights`: none, imagenet, or one of SMP's others;
    timm's weights are chosen by the tag in the encoder's name (tu-resnet18.a1_in1k)."""

    encoder: str = "resnet34"
    encoder_weights: str = "none"  # anything else may ask the Hugging Face hub


def family_of(options: SmpOptions) -> Family:
    found = encoders.find(options.encoder)
    return found.family if found else "cnn"


def problems(options: SmpOptions, task: Task) -> Iterator[Problem]:
    """Why the encoder cannot be built or trained."""
    found = encoders.find(options.encoder)
    if found is None:
        yield Problem("encoder", encoders.unknown(options.encoder))
        return
    known = ("none", *found.weights)
    if options.encoder_weights not in known:
        hint = did_you_mean(options.encoder_weights, known)
        message = f"{found.name} has no weights '{options.encoder_weights}'.{hint} Known: {', '.join(known)}"
        yield Problem("encoder_weights", message)
    elif options.encoder_weights == "none" and options.encoder != found.name:
        tag = options.encoder.removeprefix(f"{found.name}.")
        message = f"the tag '.{tag}' names weights that encoder_weights: none leaves out"
        yield Problem("encoder", f"{message}; drop the tag, or set encoder_weights: imagenet")
    if task.batch_size == 1 and found.min_batch == 2:
        message = f"{found.name} normalises over the batch after global pooling"
        yield Problem("encoder", f"{message}, which takes a batch_size of at least 2")
    elif task.batch_size == 1 and found.family == "cnn" and max(task.image_size) <= STRIDE:
        height, width = task.image_size
        message = f"batch_size 1 at image_size {height}x{width} leaves BatchNorm a single value per channel"
        yield Problem("encoder", f"{message}; train with at least 2 images or more than {STRIDE} px")


def build_smp(architecture: Architecture, options: SmpOptions, task: Task, **decoder: object) -> nn.Module:
    """SMP's `architecture` for images of any size. Raises WeightsError, and ValueError for an unknown encoder."""
    import segmentation_models_pytorch as smp

    from segsweep.trainables.models._sizes import AnySize

    found = encoders.find(options.encoder)
    if found is None:
        raise ValueError(encoders.unknown(options.encoder))
    if found.flexible:
        decoder["strict_img_size"] = False
    if options.encoder_weights != "none" and found.name.startswith("mit_"):
        logger.warning("%s: NVIDIA licenses these weights for non-commercial use only", found.name)
    _check_tag(options)
    try:
        network = getattr(smp, architecture)(
            encoder_name=options.encoder,
            encoder_weights=_weights(options),
            in_channels=task.in_channels,
            classes=task.num_classes,
            **decoder,
        )
    except OSError as error:  # every error of the hub is one
        weights = f"encoder_weights '{options.encoder_weights}' of '{options.encoder}'"
        raise unavailable(weights, _download(options), error) from error
    return AnySize(network, STRIDE)


def _weights(options: SmpOptions) -> str | bool | None:
    """What SMP understands: None for none, and for timm a switch, since the tag is in the name."""
    if options.encoder_weights == "none":
        return None
    return True if options.encoder.startswith("tu-") else options.encoder_weights


def _check_tag(options: SmpOptions) -> None:
    """Raises WeightsError for a tag that timm does not have, or a timm model without weights."""
    if not options.encoder.startswith("tu-"):
        return
    import timm

    name = options.encoder.removeprefix("tu-")
    tags = timm.list_pretrained(f"{name.split('.')[0]}.*")
    if ("." in name and name not in tags) or (options.encoder_weights != "none" and not tags):
        known = ", ".join(f"tu-{tag}" for tag in tags) or "none; set encoder_weights: none"
        raise WeightsError(f"timm has no weights for '{options.encoder}'. Known: {known}")


def _download(options: SmpOptions) -> str:
    """The arguments of `hf download` that fetch the weights."""
    if options.encoder.startswith("tu-"):
        import timm

        return str(timm.get_pretrained_cfg(options.encoder.removeprefix("tu-")).hf_hub_id)
    from segmentation_models_pytorch.encoders import encoders as smp_encoders

    settings = smp_encoders[options.encoder]["pretrained_settings"][options.encoder_weights]
    return f"{settings['repo_id']} --revision {settings['revision']}"
