"""Write trainables/encoders.json: every encoder that the installed SMP and timm can build for unet, fpn and linknet.

    python benchmarks/list_encoders.py > trainables/encoders.json        (15 minutes on one core, no network)

An encoder is listed if it gives SMP's pyramid of five halvings at any size of multiples of 32: each one is built and
run at two sizes, on the meta device, so no weights are allocated. Plain ViTs (one scale) and networks that are tied
to one input size drop out. Run it after an update of either library; tests/test_encoders.py says when.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import timm
import torch
from segmentation_models_pytorch.encoders import encoders as smp_encoders
from segmentation_models_pytorch.encoders import get_encoder
from torch import nn

SIZES = ((64, 64), (96, 160))
# window transformers insist on their training size unless told otherwise; other models refuse the argument
FLEXIBLE: Mapping[str, bool] = {"strict_img_size": False}


@dataclass(frozen=True)
class Probe:
    """What an encoder turned out to need."""

    attends: bool  # has attention between positions, so the learning rates of transformers
    min_batch: int  # 2 where BatchNorm follows global pooling, as in SKNet
    flexible: bool  # works with FLEXIBLE only


def attends(encoder: nn.Module) -> bool:
    """Whether some module projects queries, keys and values (squeeze-and-excite and its kin do not)."""
    marks = ("qkv", "kv", "to_qkv", "q", "query", "to_q")
    return any(isinstance(m, nn.MultiheadAttention) or any(hasattr(m, a) for a in marks) for m in encoder.modules())


def gives_pyramid(encoder: nn.Module, batch: int, size: tuple[int, int], device: str) -> bool:
    features = encoder(torch.empty(batch, 3, *size, device=device))
    halvings = [(size[0] >> level, size[1] >> level) for level in range(6)]
    channels = [f.shape[1] for f in features]
    return [tuple(f.shape[2:]) for f in features] == halvings and channels == list(encoder.out_channels)


def build(name: str, options: Mapping[str, bool]) -> tuple[nn.Module, str]:
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
                    return Probe(attends(encoder), batch, flexible)
            except Exception as error:
                print(f"{name}: {type(error).__name__}: {str(error)[:90]}", file=sys.stderr)
                if "more than 1 value" not in str(error):
                    break
    return None


def names() -> Iterator[str]:
    yield from smp_encoders
    yield from (f"tu-{name}" for name in timm.list_models())


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    usable = {name: found for name in names() if (found := probe(name))}
    listed = {
        "smp": {n: " ".join(smp_encoders[n]["pretrained_settings"]) for n in usable if not n.startswith("tu-")},
        "timm": " ".join(n[3:] for n in usable if n.startswith("tu-")),
        "transformers": " ".join(n for n, found in usable.items() if found.attends),
        "flexible": " ".join(n for n, found in usable.items() if found.flexible),
        "min_batch_2": " ".join(n for n, found in usable.items() if found.min_batch == 2),
    }
    json.dump(listed, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
