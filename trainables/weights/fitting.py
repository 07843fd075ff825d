"""Tensors of a file, put into a network under whatever names they have. Nothing is left out without a word."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple, Self

from torch import Tensor, nn

from segsweep.trainables.components import WeightsError
from segsweep.trainables.parts import part_of
from segsweep.trainables.weights import efficientnet
from segsweep.trainables.weights.published_names import as_loaded

DERIVED = ("num_batches_tracked", "relative_position_index", "relative_coords_table", "attn_mask")
"""What old files lack or have beyond need, and no result depends on."""
DEPTH = 5  # modules that a file may wrap the network in


@dataclass(frozen=True)
class Match:
    """How names of the network and of the file go together."""

    pairs: Mapping[str, str]  # the network's -> the file's, of one shape
    missing: Sequence[str]  # in the network only
    other: Mapping[str, str]  # in both, but of another shape
    left: Sequence[str]  # in the file only, beside or below what is used of it


class Classes(NamedTuple):
    """How the classes of two datasets go together."""

    ours: int
    theirs: int  # 0 if not known
    rows: Mapping[int, int] | None  # ours -> theirs, of one name; None where they are the same, or theirs not known

    @classmethod
    def of(cls, ours: Sequence[str], theirs: Sequence[str]) -> Self:
        rows = {i: theirs.index(name) for i, name in enumerate(ours) if name in theirs}
        return cls(len(ours), len(theirs), None if not theirs or list(ours) == list(theirs) else rows)


def fit_encoder(network: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load the encoder, of which every tensor has to be there; a classifier in the file, or a decoder, is left out.

    what: "encoder_weights 'x.pth'", for messages. Raises WeightsError for weights of another encoder.
    """
    state = network.state_dict()
    wanted = {name: value for name, value in state.items() if part_of(name) == "encoder"}
    if efficientnet.STEM in tensors and not any(name.endswith(efficientnet.STEM) for name in wanted):
        renamed = efficientnet.as_timm(tensors, wanted)
        tensors = {renamed[name]: value for name, value in tensors.items() if name in renamed}
    match = matched(wanted, tensors)
    if match.missing:
        tensors = as_loaded(network, tensors)
        match = matched(wanted, tensors)
    _refuse(match, wanted, tensors, f"{what} are of another encoder", lambda _: False)
    network.load_state_dict({ours: tensors[theirs] for ours, theirs in match.pairs.items()}, strict=False)


def fit_network(network: nn.Module, tensors: Mapping[str, Tensor], what: str, classes: Classes) -> list[str]:
    """Load a whole network; the head may differ, everything else has to be there. Returns what was not loaded.

    Raises WeightsError for weights of another network.
    """
    wanted = network.state_dict()
    match = matched(wanted, tensors)
    _refuse(match, wanted, tensors, f"{what} are of another network", _may_differ)
    loaded, not_loaded = {}, [*match.missing]
    for ours, theirs in {**match.pairs, **match.other}.items():
        by_class = classes.rows is not None and _by_class(ours, wanted[ours], tensors[theirs], classes)
        if ours in match.pairs and not by_class:
            loaded[ours] = tensors[theirs]
            continue
        kept = classes.rows if classes.rows and by_class else {}
        loaded[ours] = wanted[ours].clone()
        for mine, their in kept.items():
            loaded[ours][mine] = tensors[theirs][their]
        if len(kept) < classes.ours:
            not_loaded.append(f"{ours} (but {len(kept)} of {classes.ours} classes)" if kept else ours)
    network.load_state_dict(loaded, strict=False)
    return not_loaded


def _may_differ(name: str) -> bool:
    return part_of(name) == "head" or "auxiliary_head" in name.split(".")


def _by_class(name: str, ours: Tensor, theirs: Tensor, classes: Classes) -> bool:
    """Whether rows of a tensor of the head belong to classes."""
    same = ours.shape[1:] == theirs.shape[1:]
    return _may_differ(name) and same and ours.ndim > 0 and (len(ours), len(theirs)) == classes[:2]


def matched(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Match:
    """Names agree but for what they begin with (module., encoder. ...) and for stages_0 that is stages.0 elsewhere."""
    root, prefix = _root(wanted), ""
    ours = {_plain(name.removeprefix(root)): name for name in wanted}
    best = -1
    for candidate in sorted(_prefixes(tensors), key=len):
        hits = sum(_plain(key.removeprefix(candidate)) in ours for key in tensors if key.startswith(candidate))
        if hits > best:
            best, prefix = hits, candidate
    theirs = {_plain(key.removeprefix(prefix)): key for key in tensors if key.startswith(prefix)}
    both = {ours[name]: theirs[name] for name in ours if name in theirs}
    pairs = {name: key for name, key in both.items() if wanted[name].shape == tensors[key].shape}
    used = {_top(key, prefix) for key in both.values()}
    left = [key for name, key in theirs.items() if name not in ours and _top(key, prefix) in used]
    return Match(
        pairs,
        [name for name in wanted if name not in both and not name.endswith(DERIVED)],
        {name: key for name, key in both.items() if name not in pairs},
        [key for key in left if not key.endswith(DERIVED)],
    )


def _root(names: Iterable[str]) -> str:
    """What all names begin with, up to a module whose children have names of their own and are not numbered."""
    paths = [name.split(".")[:-1] for name in names]
    modules = [level[0] for level in takewhile(lambda level: len({*level}) == 1, zip(*paths, strict=False))]
    if modules and any(part.isdigit() for path in paths for part in path[len(modules) : len(modules) + 1]):
        modules = modules[:-1]
    return _dotted(modules)


def _prefixes(names: Iterable[str]) -> set[str]:
    paths = {tuple(name.split(".")[:-1][:DEPTH]) for name in names}
    return {_dotted(path[:depth]) for path in paths for depth in range(len(path) + 1)}


def _dotted(modules: Sequence[str]) -> str:
    return "".join(f"{module}." for module in modules)


def _plain(name: str) -> str:
    return re.sub(r"[._]+", ".", name)


def _top(key: str, prefix: str) -> str:
    return key.removeprefix(prefix).split(".")[0]


def _refuse(
    match: Match,
    wanted: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    message: str,
    exempt: Callable[[str], bool],
) -> None:
    missing = [name for name in match.missing if not exempt(name)]
    other = {name: key for name, key in match.other.items() if not exempt(name)}
    left = [key for key in match.left if not exempt(key)]
    found = []
    if missing:
        found.append(f"{len(missing)} of {len(wanted)} tensors are missing, such as {missing[0]}")
    if other:
        name, key = next(iter(other.items()))
        shapes = f"{tuple(tensors[key].shape)} instead of {tuple(wanted[name].shape)}"
        found.append(f"{len(other)} have another shape, such as {name}: {shapes}")
    if left:
        found.append(f"{len(left)} have no place in it, such as {left[0]}")
    if found:
        raise WeightsError(f"{message}: {'; '.join(found)}. Make the two agree")
