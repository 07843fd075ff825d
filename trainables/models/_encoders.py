"""The encoders of the models of SMP, from a list that is committed, so that looking one up imports no library.

`benchmarks/list_encoders.py` writes the list by building every encoder of SMP and timm; a test holds it against them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TypedDict

from segsweep.trainables.catalog import did_you_mean
from segsweep.trainables.components import Family


class _Listed(TypedDict):
    """encoders.json; a string holds names with a space between them."""

    smp: dict[str, str]  # encoder: its pretrained weights
    timm: str  # without tu-
    transformers: str
    flexible: str
    min_batch_2: str
    dilated: str
    vit: str  # of timm, without tu-
    vit_without_tokens: str


@dataclass(frozen=True)
class Encoder:
    """One encoder under its YAML name, without the tag of its weights."""

    name: str  # resnet34, or tu- and a timm name
    family: Family
    weights: tuple[str, ...]  # known to the library; timm has more, chosen by a tag: tu-resnet18.a1_in1k
    min_batch: int  # 2 where BatchNorm follows global pooling
    flexible: bool  # takes other sizes than its training size if told so
    dilates: bool  # can keep its resolution from a stride of 8 or 16 on
    tokens: bool = False  # a ViT with tokens beside the patches, such as the class token


@cache
def _listed() -> _Listed:
    listed: _Listed = json.loads(files("segsweep.trainables.models").joinpath("encoders.json").read_text("utf-8"))
    return listed


@cache
def names() -> tuple[str, ...]:
    """Every encoder: SMP's own, then timm's as tu-NAME."""
    listed = _listed()
    return (*listed["smp"], *(f"tu-{name}" for name in listed["timm"].split()))


@cache
def find(name: str) -> Encoder | None:
    """The encoder that a YAML calls `name`, with or without a timm tag; None if there is none."""
    listed = _listed()
    base = name.split(".")[0] if name.startswith("tu-") else name
    if base not in names():
        return None
    return Encoder(
        base,
        "transformer" if base in listed["transformers"].split() else "cnn",
        tuple(listed["smp"].get(base, "imagenet").split()),
        2 if base in listed["min_batch_2"].split() else 1,
        base in listed["flexible"].split(),
        base in listed["dilated"].split(),
    )


@cache
def vits() -> tuple[str, ...]:
    """Every ViT that dpt takes, as tu-NAME."""
    return tuple(f"tu-{name}" for name in _listed()["vit"].split())


@cache
def find_vit(name: str) -> Encoder | None:
    """The ViT that a YAML calls `name`, with or without a timm tag; None if there is none."""
    base = name.split(".")[0]
    if base not in vits():
        return None
    tokens = base.removeprefix("tu-") not in _listed()["vit_without_tokens"].split()
    return Encoder(base, "transformer", ("imagenet",), 1, flexible=True, dilates=False, tokens=tokens)


def unknown_vit(name: str) -> str:
    """What to tell somebody who asked for the ViT `name`, which is not listed."""
    return (
        f"no ViT '{name}'.{did_you_mean(name, vits())} dpt takes tu- and a ViT of timm with patches of 8, 16 or 32 px "
        "that takes any image size, such as tu-vit_small_patch16_224"
    )


def unknown(name: str) -> str:
    """What to tell somebody who asked for encoder `name`, which is not listed."""
    if f"tu-{name.split('.')[0]}" in names():
        return f"no encoder '{name}'; encoders of timm are written with tu- before their name: 'tu-{name}'"
    return (
        f"no encoder '{name}'.{did_you_mean(name, names())} Encoders are SMP's (such as resnet34 or mit_b0), or "
        "tu- and any timm model that gives a pyramid at any image size (plain ViTs do not)"
    )
