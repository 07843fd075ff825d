"""One folder with a trained network in several formats, each compared with it, and a page that says what it is."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.table import aligned
from segsweep.trainables.catalog import did_you_mean

if TYPE_CHECKING:
    from segsweep.trainables.exporting.graph import Exported
    from segsweep.trainables.prediction.trained_model import TrainedModel

FORMATS = ("safetensors", "onnx", "torchscript", "exported_program", "mlflow")
DEFAULT = ("safetensors", "onnx", "torchscript", "mlflow")
FILES = {
    "onnx": "model.onnx",
    "torchscript": "model.torchscript.pt",
    "exported_program": "model.pt2",
    "mlflow": "mlflow",
}
CARD = "README.md"


@dataclass
class Bundle:
    folder: Path
    files: dict[str, Path] = field(default_factory=dict)  # by format
    compared: dict[str, Exported] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)  # a format each that cannot be had


def chosen_formats(text: str | None) -> tuple[str, ...]:
    """Of a list with commas. Raises InputError."""
    names = DEFAULT if text is None else tuple(name.strip() for name in text.split(","))
    there = f"There are: {', '.join(FORMATS)}"
    InputError.raise_if(
        Mistake("--formats", f"'{name}' is no format.{did_you_mean(name, FORMATS)} {there}")
        for name in names
        if name not in FORMATS
    )
    return names


def export(model: TrainedModel, formats: Sequence[str], folder: Path, facts: Mapping[str, str]) -> Bundle:
    """model: on the CPU; facts: what files say of where they come from.

    What a format cannot express is a mistake of the bundle, and the others are made. Raises OSError.
    """
    from segsweep.trainables.exporting.graph import ExportError

    bundle = Bundle(folder)
    folder.mkdir(parents=True, exist_ok=True)
    makers = _makers(model, bundle, {**described(model), **facts})
    for name in (name for name in FORMATS if name in formats):
        try:
            makers[name]()
        except ExportError as error:
            bundle.mistakes.append(Mistake(f"--formats {name}", f"'{model.config.model.name}' cannot be had: {error}"))
    return bundle


def _makers(model: TrainedModel, bundle: Bundle, facts: Mapping[str, str]) -> Mapping[str, Callable[[], None]]:
    from segsweep.orchestrator.tracking import served_model
    from segsweep.trainables.exporting.graph import Graph
    from segsweep.trainables.exporting.onnx_format import onnx
    from segsweep.trainables.exporting.torch_formats import exported_program, torchscript
    from segsweep.trainables.prediction import portable

    graph, size = Graph(model), model.config.image_size

    def compared(name: str, make: Callable[[Path], Exported]) -> None:
        bundle.compared[name] = make(bundle.folder / FILES[name])
        bundle.files[name] = bundle.compared[name].path

    def safetensors() -> None:
        bundle.files["safetensors"] = portable.save(model, bundle.folder)[0]

    def mlflow() -> None:
        place = bundle.folder / FILES["mlflow"]
        with tempfile.TemporaryDirectory() as network:
            portable.save(model, Path(network))
            served_model.save(Path(network), place, facts)
        bundle.files["mlflow"] = place

    return {
        "safetensors": safetensors,
        "onnx": lambda: compared("onnx", lambda path: onnx(graph, path, size, facts)),
        "torchscript": lambda: compared("torchscript", lambda path: torchscript(graph, path, size)),
        "exported_program": lambda: compared("exported_program", lambda path: exported_program(graph, path, size)),
        "mlflow": mlflow,
    }


def described(model: TrainedModel) -> dict[str, str]:
    """What a program has to know to use the network, as it is written into the files."""
    config = model.config
    return {
        "segsweep.model": config.model.name,
        "segsweep.dataset": config.dataset.name,
        "segsweep.classes": json.dumps(model.classes),
        "segsweep.palette": json.dumps(model.card.colors),
        "segsweep.image_size": json.dumps(config.image_size),
        "segsweep.input": "images: (batch, height, width, 3) uint8, RGB from 0 to 255; the network normalises them",
        "segsweep.output": "logits: (batch, class, height, width) float32; the class of a pixel is the largest one's",
        "segsweep.evaluation": str(config.evaluation),
        "segsweep.weights_licence": model.weights.get("weights_licence", ""),
    }


def as_lines(bundle: Bundle) -> Iterator[str]:
    """What was made, for people."""
    rows = []
    for name, path in bundle.files.items():
        found = bundle.compared.get(name)
        rows.append((name, str(path.relative_to(bundle.folder)), comparison(found) if found else ""))
    yield from aligned(rows, []) if rows else []
    yield f"{len(bundle.files)} formats in {bundle.folder}, described in {bundle.folder / CARD}"


def comparison(found: Exported) -> str:
    sizes = ", ".join(f"{height}x{width}" for height, width in found.sizes)
    which = "any size" if found.any_size else f"this size only ({found.failures})"
    return f"{which}; at {sizes} its logits are within {found.deviation:.0e} of the network's"
