"""The weights that SMP and timm publish for their encoders, as options of the models that are built on them."""

from __future__ import annotations

from typing import ClassVar

from segsweep.trainables.data.normalization import HALF, IMAGENET, Normalization
from segsweep.trainables.model_options import ModelOptions
from segsweep.trainables.models._timm_weights import timm_normalization, timm_published, timm_repository
from segsweep.trainables.weights.options import Published
from segsweep.trainables.weights.sources import Kind

HALVED = ("xception", "inceptionv4", "inceptionresnetv2", "timm-tf_efficientnet_lite")
DPN = Normalization((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3)


class SmpWeights(ModelOptions):
    """Names in `encoder_weights` are SMP's, such as imagenet; timm's weights are chosen by the tag in the encoder's
    name (tu-resnet18.a1_in1k)."""

    loads: ClassVar[frozenset[Kind]] = frozenset({"name"})

    encoder: str = "resnet34"

    def published(self) -> Published | None:
        if self.encoder.startswith("tu-"):
            return timm_published(self.encoder.removeprefix("tu-"))
        from segmentation_models_pytorch.encoders import encoders as smp_encoders

        settings = smp_encoders[self.encoder]["pretrained_settings"][self.encoder_weights]
        return Published(settings["repo_id"], settings["revision"])

    def repositories(self) -> tuple[str, ...]:
        if self.encoder.startswith("tu-"):
            return (timm_repository(self.encoder.removeprefix("tu-")),)
        return (f"smp-hub/{self.encoder}.{self.encoder_weights.replace('+', '-')}",)

    def normalization(self) -> Normalization:
        """SMP tells in a file beside its weights, which is not at hand where others are loaded: what it says there."""
        if self.encoder.startswith("tu-"):
            return timm_normalization(self.encoder.removeprefix("tu-"))
        if self.encoder.startswith(HALVED) or self.encoder_weights == "advprop":
            return HALF
        return DPN if self.encoder.startswith("dpn") else IMAGENET
