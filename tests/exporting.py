"""The small variant of every architecture in the formats of `segsweep export`.

python tests/exporting.py [--program] [MODEL ...]         (prints rows of docs/export.md)
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from small_models import SMALL
from street_trials import entry

from segsweep.trainables.catalog import MODELS
from segsweep.trainables.components import DatasetCard, Task
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.data.normalization import IMAGENET, Normalization
from segsweep.trainables.datasets._palette import palette
from segsweep.trainables.exporting.graph import Exported, ExportError, Graph, example
from segsweep.trainables.exporting.onnx_format import onnx
from segsweep.trainables.exporting.torch_formats import exported_program, torchscript
from segsweep.trainables.prediction.trained_model import TrainedModel
from segsweep.trainables.training.arithmetic import FLOAT32
from segsweep.trainables.training.isolation import seeded

SIZE = (64, 96)
CLASSES = 5


def model(name: str, normalization: Normalization = IMAGENET) -> TrainedModel:
    """With random weights, and the statistics of a few images."""
    component = MODELS.get(name)
    options = component.Options.model_validate(SMALL.get(name, {}))
    with seeded(1, 0, torch.device("cpu")):
        network = component.build(options, Task(CLASSES, SIZE, 2))
        network.train()
        with torch.no_grad():
            for _ in range(8):
                network((example(SIZE, 4).permute(0, 3, 1, 2).float() - 100) / 60)
    plain = {kind: entry("t") for kind in ("dataset", "loss", "optimizer", "lr_schedule", "augmentation")}
    config = TrialConfig(trial_id="001", **plain, model=entry(name), epochs=1, batch_size=2, image_size=SIZE, seed=0)  # type: ignore[arg-type]
    card = DatasetCard(tuple(f"class {n}" for n in range(CLASSES)), palette(CLASSES))
    rest = FLOAT32, component.family(options), torch.device("cpu"), 1, {}, {}
    return TrainedModel(config, card, network.eval().requires_grad_(False), normalization, *rest)


FORMATS: dict[str, Callable[[Graph, Path], Exported]] = {
    "ONNX": lambda graph, path: onnx(graph, path, SIZE, {}),
    "TorchScript": lambda graph, path: torchscript(graph, path, SIZE),
    "torch.export": lambda graph, path: exported_program(graph, path, SIZE),
}


def cell(make: Callable[[], Exported]) -> str:
    began = time.monotonic()
    try:
        found = make()
    except ExportError as error:
        return f"no: {error}"
    which = "any size" if found.any_size else "fixed size"
    return f"{which}, {found.deviation:.0e}, {found.agreement:.2%}, {time.monotonic() - began:.0f} s"


def row(name: str, formats: list[str]) -> str:
    graph = Graph(model(name))
    with tempfile.TemporaryDirectory() as folder:
        cells = [cell(lambda kind=kind: FORMATS[kind](graph, Path(folder, "model"))) for kind in formats]
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    wanted = [name for name in sys.argv[1:] if name != "--program"]
    chosen = ["torch.export"] if "--program" in sys.argv else ["ONNX", "TorchScript"]
    for each in wanted or MODELS.names():
        print(row(each, chosen), flush=True)
