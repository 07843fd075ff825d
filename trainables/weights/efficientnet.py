"""Names of EfficientNet-PyTorch (Luke Melas-Kyriazi's package, and what derives from it) as timm has them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

STEM = "_conv_stem.weight"
OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
EXPANDING = SQUEEZE | {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
PLAIN = SQUEEZE | {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""A block without expansion, as the first ones are."""
BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")
TIMM_BLOCK = re.compile(r"blocks[._](\d+)\.(\d+)\.")


def as_timm(names: Iterable[str], wanted: Iterable[str]) -> Mapping[str, str]:
    """Their names -> timm's, as far as there are any.

    Theirs count blocks through, timm's start anew in every stage: wanted (timm's names) tell the stages.
    """
    names = list(names)
    places = sorted({(int(m[1]), int(m[2])) for name in wanted if (m := TIMM_BLOCK.search(name))})
    expanding = {m[1] for name in names if (m := BLOCK.match(name)) and m[2] == "_expand_conv"}
    found: dict[str, str] = {}
    for name in names:
        block = BLOCK.fullmatch(name)
        head, _, tail = name.rpartition(".")
        if block is None:
            found[name] = f"{OUTSIDE[head]}.{tail}" if head in OUTSIDE else name
        elif int(block[1]) < len(places):
            stage, index = places[int(block[1])]
            layer = (EXPANDING if block[1] in expanding else PLAIN).get(block[2], block[2])
            found[name] = f"blocks.{stage}.{index}.{layer}.{block[3]}"
    return found
