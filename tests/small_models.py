"""The small variant of every architecture, for tests that hold for any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SMALL_SET = {"encoder": "resnet18", "queries": 12, "decoder_layers": 2, "decoder_width": 64}
# Options by architecture; one that is not here is small enough by default.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "beit": {"encoder": "vit_tiny"},
    "data2vec": {"encoder": "vit_tiny"},
    "deeplabv3": {"encoder": "tu-resnet10t", "decoder_channels": 64, "auxiliary_weight": 0.4},
    "deeplabv3plus": {"encoder": "tu-resnet10t", "auxiliary_weight": 0.4},
    "dpt": {"reassemble_channels": (32, 32, 32, 32), "decoder_channels": 32},
    "eomt": {"encoder": "dinov3_tiny", "queries": 12},
    "fcn": {"encoder": "resnet18"},
    "fcn_dilated": {"encoder": "tu-resnet10t"},
    "fpn": {"encoder": "resnet18", "pyramid_channels": 64, "segmentation_channels": 64},
    "hf_dpt": {"encoder": "vit_tiny", "decoder_width": 64},
    "hf_mobilenetv2": {"encoder": "width_0.35"},
    "hf_upernet": {"encoder": "resnet18", "decoder_width": 32},
    "linknet": {"encoder": "resnet18"},
    "manet": {"encoder": "resnet18", "decoder_channels": (64, 32, 16, 16, 16)},
    "mask2former": {**SMALL_SET, "pixel_decoder_layers": 1},
    "maskformer": {**SMALL_SET, "dropout": 0.0},
    "mobilevit": {"encoder": "xx_small", "decoder_width": 32},
    "mobilevitv2": {"encoder": "width_0.5", "decoder_width": 32},
    "oneformer": {**SMALL_SET, "pixel_decoder_layers": 1},
    "pan": {"encoder": "tu-resnet10t"},
    "pspnet": {"encoder": "tu-resnet10t", "decoder_channels": 64},
    "sam": {"decoder_width": 32},
    "segmenter": {"encoder": "vit_tiny_patch16_384", "decoder": "linear"},
    "smp_pspnet": {"encoder": "resnet18"},
    "transunet": {"layers": 1},
    "unet": {"encoder": "resnet18", "decoder_channels": (64, 32, 16, 16, 16)},
    "unetplusplus": {"encoder": "tu-mobilenetv3_small_050", "decoder_channels": (64, 32, 16, 16, 16)},
    "bisenetv2": {"head_channels": 64},
    "hrnet": {"encoder": "tu-hrnet_w18_small"},
    "segnet": {"width": 8},
    "unet_2015": {"width": 8},
    "upernet": {"encoder": "resnet18", "decoder_channels": 64, "auxiliary_weight": 0.4},
    "utnet": {"width": 8, "reduced": 4},
}
