"""A trained network in two files that need no pickle: the weights, and a JSON with all that using them needs to know.

    model.safetensors  the network's weights and statistics
    config.json        the trial's configuration, classes, palette, normalisation, scores, versions

`load_trained` takes the first as it takes a best.pt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import TypeAdapter

from segsweep.trainables.components import DatasetCard
from segsweep.trainables.places import CONFIG, WEIGHTS
from segsweep.trainables.training.checkpoint import Best, CheckpointError

if TYPE_CHECKING:
    from segsweep.trainables.prediction.trained_model import TrainedModel

FORMAT = "segsweep network 1"
LIBRARIES = (
    "segsweep",
    "torch",
    "segmentation-models-pytorch",
    "timm",
    "transformers",
    "numpy",
    "opencv-python-headless",
)


def versions() -> dict[str, str]:
    """Of what computes a prediction here."""
    return {name: found for name in LIBRARIES if (found := _version(name))}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def save(trained: TrainedModel, folder: Path) -> tuple[Path, Path]:
    """Both files. Raises OSError."""
    from safetensors.torch import save as serialized

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous().clone() for name, tensor in trained.network.state_dict().items()}
    # its own save_file would leave a file that nobody else may read, whatever the umask is
    (folder / WEIGHTS).write_bytes(serialized(tensors, {"format": "pt"}))
    mean, std = trained.normalization
    described = {
        "format": FORMAT,
        "config": trained.config.model_dump(mode="json"),
        "card": asdict(trained.card),
        "normalization": {"mean": list(mean), "std": list(std)},
        "epoch": trained.epoch,
        "metrics": dict(trained.metrics),
        "weights": {name: fact for name, fact in trained.weights.items() if name != "weights_file"},  # of this machine
        "versions": versions(),
    }
    (folder / CONFIG).write_text(json.dumps(described, indent=1) + "\n")
    return folder / WEIGHTS, folder / CONFIG


def load(path: Path) -> tuple[Best, DatasetCard]:
    """path: of the weights; config.json lies beside them.

    Raises FileNotFoundError; CheckpointError for files that are damaged, or of another version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    beside = path.with_name(CONFIG)
    try:
        described = cast("Mapping[str, object]", json.loads(beside.read_text()))
        card = TypeAdapter(DatasetCard).validate_python(described["card"])
        parts = {name: described[name] for name in ("epoch", "metrics", "normalization", "weights")}
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{beside}: is no description of {path.name}, or of another version ({error!r})"
        ) from error
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a readable file of weights: {error}") from error
    best = {"config": json.dumps(described["config"]), "classes": list(card.classes), "model": tensors, **parts}
    return cast(Best, best), card
