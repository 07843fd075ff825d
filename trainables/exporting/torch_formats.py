"""TorchScript and torch.export: networks that torch runs without the code that built them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import Dim

from segsweep.trainables.exporting.graph import (
    BATCH,
    SIDES,
    Exported,
    Graph,
    Size,
    compared,
    example,
    first_that_works,
    odd,
)


def torchscript(graph: Graph, path: Path, size: Size) -> Exported:
    """Traced, so for `torch.jit.load` in Python and C++. Raises ExportError."""

    def attempt(any_size: bool) -> Exported:
        traced = torch.jit.trace(graph, example(odd(size) if any_size else size), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, path)
        loaded = torch.jit.load(path)  # type: ignore[no-untyped-call]
        return compared(path, graph, loaded, size, any_size=any_size)

    return first_that_works(path, {"any size": lambda: attempt(True), "fixed size": lambda: attempt(False)})


def exported_program(graph: Graph, path: Path, size: Size) -> Exported:
    """For `torch.export.load`, and all that starts from it. Takes minutes for large networks. Raises ExportError."""

    def attempt(any_size: bool) -> Exported:
        sides = {1: Dim("height", **SIDES), 2: Dim("width", **SIDES)} if any_size else {}
        given = example(odd(size) if any_size else size)
        program = torch.export.export(graph, (given,), dynamic_shapes=({0: Dim("batch", **BATCH), **sides},))
        torch.export.save(program, path)
        return compared(path, graph, torch.export.load(path).module(), size, any_size=any_size)

    return first_that_works(path, {"any size": lambda: attempt(True), "fixed size": lambda: attempt(False)})
