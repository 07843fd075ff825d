"""Write trainables/models/encoders.json: every encoder that the installed SMP and timm can build for models of SMP.

    python benchmarks/list_encoders.py > trainables/models/encoders.json        (30 minutes on one core, no network)

An encoder is listed if it gives SMP's pyramid of five halvings at any size of multiples of 32: each one is built and
run at two sizes, on the meta device, so no weights are allocated. Networks that are tied to one input size drop out.
Those whose last strides can become dilations are marked, and plain ViTs (one scale) are listed for dpt.
Run it after an update of either library; tests/test_encoders.py says when.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import segmentation_models_pytorch
import timm
import torch
from segmentation_models_pytorch.encoders import TimmViTEncoder, get_encoder
from segmentation_models_pytorch.encoders import encoders as smp_encoders
from torch import nn

SIZES = ((64, 64), (96, 160))
# window transformers insist on their training size unless told otherwise; other models refuse the argument
FLEXIBLE: Mapping[str, int] = {"strict_img_size": False}
DILATED_STRIDES = (8, 16)


@dataclass(frozen=True)
class Probe:
    """What an encoder turned out to need."""

    attends: bool  # has attention between positions, so the learning rates of transformers
    min_batch: int  # 2 where BatchNorm follows global pooling, as in SKNet
    flexible: bool  # works with FLEXIBLE only
    dilates: bool  # to any of DILATED_STRIDES


def attends(encoder: nn.Module) -> bool:
    """Whether some module projects queries, keys and values (squeeze-and-excite and its kin do not)."""
    marks = ("qkv", "kv", "to_qkv", "q", "query", "to_q")
    return any(isinstance(m, nn.MultiheadAttention) or any(hasattr(m, a) for a in marks) for m in encoder.modules())


def gives_pyramid(encoder: nn.Module, batch: int, size: tuple[int, int], device: str, stride: int = 32) -> bool:
    features = encoder(torch.empty(batch, 3, *size, device=device))
    strides = [min(1 << level, stride) for level in range(6)]
    halvings = [(size[0] // step, size[1] // step) for step in strides]
    channels = [f.shape[1] for f in features]
    return [tuple(f.shape[2:]) for f in features] == halvings and channels == list(encoder.out_channels)


def build(name: str, options: Mapping[str, int]) -> tuple[nn.Module, str]:
    """The encoder and its device: meta, or cpu where a constructor computes with values."""
    try:
        with torch.device("meta"):
            return get_encoder(name, weights=None, **options).train(), "meta"
    except RuntimeError as error:
        if "meta" not in str(error):
            raise
        return get_encoder(name, weights=None, **options).train(), "cpu"


def probe(name: str) -> Probe | None:
    """None if the encoder cannot be used."""
    for flexible in (False, True) if name.startswith("tu-") else (False,):
        try:
            encoder, device = build(name, FLEXIBLE if flexible else {})
        except Exception as error:  # what a constructor may raise is open; the name is then not an encoder
            print(f"{name}: {type(error).__name__}: {str(error)[:90]}", file=sys.stderr)
            return None
        for batch in (1, 2):
            try:
                if all(gives_pyramid(encoder, batch, size, device) for size in SIZES):
                    return Probe(attends(encoder), batch, flexible, dilates(name, FLEXIBLE if flexible else {}))
            except Exception as error:
                print(f"{name}: {type(error).__name__}: {str(error)[:90]}", file=sys.stderr)
                if "more than 1 value" not in str(error):
                    break
    return None


def dilates(name: str, options: Mapping[str, int]) -> bool:
    """Whether the encoder keeps the resolution from a stride of 8, or 16, on, as DeepLab asks."""
    try:
        for stride in DILATED_STRIDES:
            encoder, device = build(name, {**options, "output_stride": stride})
            if not all(gives_pyramid(encoder, 2, size, device, stride) for size in SIZES):
                return False
    except Exception as error:
        print(f"{name}: not dilated: {type(error).__name__}: {str(error)[:90]}", file=sys.stderr)
        return False
    return True


def vit_tokens(name: str) -> int | None:
    """How many tokens beside the patches, of a model of timm that DPT takes at any size; None for other models."""
    dynamic = {"dynamic_img_size": True}
    try:
        with torch.device("meta"):
            tokens = TimmViTEncoder(name, pretrained=False, **dynamic)._num_prefix_tokens
            readout = "cat" if tokens else "ignore"
            dpt = segmentation_models_pytorch.DPT(
                f"tu-{name}", encoder_weights=None, decoder_readout=readout, **dynamic
            )
            for size in SIZES:
                dpt(torch.empty(2, 3, *size))
    except Exception as error:
        print(f"{name}: no ViT for DPT: {type(error).__name__}: {str(error)[:90]}", file=sys.stderr)
        return None
    return int(tokens)


def names() -> Iterator[str]:
    yield from smp_encoders
    yield from (f"tu-{name}" for name in timm.list_models())


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    usable = {name: found for name in names() if (found := probe(name))}
    vits = {name: tokens for name in timm.list_models() if (tokens := vit_tokens(name)) is not None}
    listed = {
        "smp": {n: " ".join(smp_encoders[n]["pretrained_settings"]) for n in usable if not n.startswith("tu-")},
        "timm": " ".join(n[3:] for n in usable if n.startswith("tu-")),
        "transformers": " ".join(n for n, found in usable.items() if found.attends),
        "flexible": " ".join(n for n, found in usable.items() if found.flexible),
        "min_batch_2": " ".join(n for n, found in usable.items() if found.min_batch == 2),
        "dilated": " ".join(n for n, found in usable.items() if found.dilates),
        "vit": " ".join(vits),
        "vit_without_tokens": " ".join(n for n, tokens in vits.items() if not tokens),
    }
    json.dump(listed, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
