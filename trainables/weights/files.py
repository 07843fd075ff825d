"""Files of weights, read without running anything that they may hold."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segsweep.trainables.components import WeightsError
from segsweep.trainables.data.normalization import Normalization
from segsweep.trainables.weights.hub import cause

if TYPE_CHECKING:
    from torch import Tensor

AGAIN = "copy or download it again"
NESTED = ("model", "state_dict", "model_state_dict", "network", "net")
"""Where training scripts keep the tensors beside other things."""


@dataclass(frozen=True)
class WeightsFile:
    path: Path
    tensors: Mapping[str, Tensor]
    ours: Mapping[str, Any] = field(default_factory=dict)  # contents of our best.pt beside the tensors
    metadata: Mapping[str, str] = field(default_factory=dict)  # of a .safetensors

    @property
    def normalization(self) -> Normalization | None:
        """What the file itself says: our checkpoints do, a .safetensors may (metadata mean and std, as JSON lists)."""
        stated = {key: json.loads(self.metadata[key]) for key in ("mean", "std") if key in self.metadata}
        return Normalization.stated(self.ours.get("normalization", stated))

    @property
    def licence(self) -> str:
        """The same; weights trained from others keep the licence of those."""
        return str(self.ours.get("weights", {}).get("weights_licence", "") or self.metadata.get("license", ""))


def read(path: Path) -> WeightsFile:
    """Raises WeightsError for a file that is damaged or holds anything but plain values and tensors."""
    if path.suffix == ".safetensors":
        return _safetensors(path)
    loaded = _loaded(path)
    tensors = _tensors(loaded)
    if tensors is None:
        raise WeightsError(f"{path}: holds no tensors by name; give a state_dict, or a mapping with one under `model`")
    return WeightsFile(path, tensors, loaded if {"config", "classes", "model"} <= loaded.keys() else {})


def sha256(path: Path) -> str:
    """Of the file's contents; remembered while the file stays as it is."""
    stat = path.stat()
    return _sha256(path, stat.st_mtime_ns, stat.st_size)


@lru_cache
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stated_normalization(folder: Path) -> Normalization | None:
    """What configuration files beside the weights say."""
    for name in ("preprocessor_config.json", "config.json"):
        found = _mapping(folder / name)
        for part in (found, found.get("pretrained_cfg")):
            if isinstance(part, dict) and (stated := Normalization.stated(part)):
                return stated
    return None


def stated_licence(folder: Path) -> str:
    """What a README of the hub's form or a configuration of timm's form says; "" if nothing does."""
    readme = folder / "README.md"
    lines = readme.read_text("utf-8", errors="replace").splitlines()[:40] if readme.is_file() else []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "license" and value.strip():
            return value.strip()
    stated = _mapping(folder / "config.json").get("pretrained_cfg", {})
    return str(stated.get("license") or "") if isinstance(stated, dict) else ""


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _safetensors(path: Path) -> WeightsFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
            return WeightsFile(path, tensors, metadata=file.metadata() or {})
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a readable .safetensors ({cause(error)}); {AGAIN}") from error


def _loaded(path: Path) -> Mapping[str, Any]:
    import pickle

    import torch

    try:
        if zipfile.is_zipfile(path) and (damaged := zipfile.ZipFile(path).testzip()):
            raise WeightsError(f"{path}: damaged: the checksum of {damaged} is wrong; {AGAIN}")
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" in str(error) and "GLOBAL" in str(error):
            message = "holds Python objects, which could run code while they are read, so it is not read"
            raise WeightsError(f"{path}: {message}; save its state_dict, or convert it to .safetensors") from error
        raise WeightsError(f"{path}: not a readable file of torch.save; {AGAIN}") from error
    except (RuntimeError, EOFError, zipfile.BadZipFile, ValueError) as error:
        raise WeightsError(f"{path}: damaged ({cause(error)}); {AGAIN}") from error
    except LookupError as error:  # what the reader makes of a text that it takes for a pickle
        raise WeightsError(f"{path}: not a readable file of torch.save; {AGAIN}") from error
    return loaded if isinstance(loaded, dict) else {}


def _tensors(loaded: Mapping[str, Any]) -> Mapping[str, Tensor] | None:
    from torch import Tensor

    for found in (loaded, *(loaded.get(name) for name in NESTED)):
        if isinstance(found, dict) and found and all(isinstance(value, Tensor) for value in found.values()):
            return found
    return None
