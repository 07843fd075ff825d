"""ONNX, made by tracing; onnxruntime's results are compared with the network's.

torch's other exporter (dynamo=True) took 42 s for a small U-Net that is traced in 2 s, and over 100 s for SegFormer.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from segsweep.trainables.exporting.expressible import everything_expressible
from segsweep.trainables.exporting.graph import (
    INPUT,
    OUTPUT,
    Exported,
    ExportError,
    Graph,
    Size,
    compared,
    example,
    first_that_works,
    odd,
)

OPSET = 18
AXES = {INPUT: {0: "batch", 1: "height", 2: "width"}, OUTPUT: {0: "batch", 2: "height", 3: "width"}}


def onnx(graph: Graph, path: Path, size: Size, facts: Mapping[str, str]) -> Exported:
    """facts: become metadata of the file. Raises ExportError, also where the packages are not installed."""
    try:
        import onnx as _
        import onnxruntime as _  # noqa: F401, F811
    except ImportError as error:
        raise ExportError(f"{error.name} is not installed; pip install 'segsweep[export]'") from None

    def attempt(any_size: bool) -> Exported:
        _trace(graph, path, odd(size) if any_size else size, any_size=any_size)
        found = compared(path, graph, Session(path), size, any_size=any_size)
        _describe(path, {**facts, "sizes": "any" if any_size else f"{size[0]}x{size[1]}"})
        return found

    return first_that_works(path, {"any size": lambda: attempt(True), "fixed size": lambda: attempt(False)})


def _trace(graph: Graph, path: Path, size: Size, *, any_size: bool) -> None:
    sides = AXES if any_size else {name: {0: "batch"} for name in AXES}
    with _silent(), everything_expressible(), torch.no_grad():
        torch.onnx.export(
            graph,
            (example(size),),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes=sides,
        )


@contextmanager
def _silent() -> Generator[None]:
    """C++ prints the whole graph where an operator is not known; the exception says which one."""
    kept = os.dup(1)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


class Session:
    """Images through onnxruntime, on the CPU."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what fails comes as an exception
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: Tensor) -> Tensor:
        return torch.from_numpy(self._session.run([OUTPUT], {INPUT: images.numpy()})[0])


def _describe(path: Path, facts: Mapping[str, str]) -> None:
    import onnx as library

    model = library.load(path, load_external_data=False)
    library.helper.set_model_props(model, dict(facts))
    library.save(model, path)
