"""What is exported: the network with its normalisation inside, so that nobody can feed it the wrong range."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from segsweep.trainables.prediction.trained_model import TrainedModel

INPUT, OUTPUT = "images", "logits"
TOLERANCE = 1e-3  # largest difference of a logit, as a share of the largest logit, that rounding may explain
BATCH, SIDES = {"max": 1024}, {"min": 32, "max": 16384}  # what torch.export is told to expect

Size = tuple[int, int]  # (height, width)


class ExportError(RuntimeError):
    """A network that a format cannot express, or that computes something else there; the message says why."""


@dataclass(frozen=True)
class Exported:
    """A file, and how it compares with the network."""

    path: Path
    any_size: bool  # else the trial's image_size alone; batches may have any size in either case
    sizes: tuple[Size, ...]  # at which it was compared
    deviation: float  # the largest, see TOLERANCE
    agreement: float  # share of pixels with the same class
    failures: str = ""  # what was tried before, and why it was no use


class Graph(nn.Module):
    """(N, H, W, 3) uint8 RGB, as image files hold them, to logits (N, C, H, W) float32."""

    def __init__(self, trained: TrainedModel) -> None:
        super().__init__()
        self.network = trained.network.float()
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in trained.normalization)
        self.register_buffer("mean", 255 * mean)
        self.register_buffer("scale", 1 / (255 * std))
        self.eval().requires_grad_(False)

    mean: Tensor
    scale: Tensor

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images.permute(0, 3, 1, 2).float() - self.mean) * self.scale)
        return logits


def example(size: Size, images: int = 2) -> Tensor:
    """(N, H, W, 3) uint8: patches of colour with noise on them, the same ones every time."""
    numbers = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 200, (images, 4, 4, 3), generator=numbers)
    rows, columns = (torch.arange(side) * 4 // side for side in size)
    noise = torch.randint(0, 56, (images, *size, 3), generator=numbers)
    return (coarse[:, rows][:, :, columns] + noise).to(torch.uint8)


def odd(size: Size) -> Size:
    """Of an example for tracing: no multiple of a stride, or the padding to one would be missing from the trace."""
    return size[0] | 1, size[1] | 1


def compared(path: Path, graph: Graph, run: Callable[[Tensor], Tensor], size: Size, *, any_size: bool) -> Exported:
    """What `run` computes against the network, at several sizes and numbers of images.

    Raises ExportError where it fails, or where the two are further apart than rounding explains.
    """
    height, width = size
    others = [odd(size), (height * 3 // 4 + 3, width // 2 + 6), (height, width + 32)] if any_size else []
    compared_at = (size, *others)
    pairs = [_outputs(graph, run, at, images) for images, at in enumerate(compared_at, start=1)]
    deviation = max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in pairs)
    if not deviation <= TOLERANCE:
        raise ExportError(f"its logits are up to {deviation:.1%} of the largest one away from the network's")
    same = [(a.argmax(1) == b.argmax(1)).float().mean() for a, b in pairs]
    return Exported(path, any_size, compared_at, deviation, float(torch.stack(same).mean()))


def _outputs(graph: Graph, run: Callable[[Tensor], Tensor], size: Size, images: int) -> tuple[Tensor, Tensor]:
    given = example(size, images)
    with torch.no_grad():
        expected = graph(given)
    try:
        found = run(given)
    except Exception as error:  # a runtime raises what it likes
        raise ExportError(f"cannot run at {size[0]}x{size[1]} ({first_line(error)})") from error
    if found.shape != expected.shape:
        raise ExportError(f"gives {tuple(found.shape)} at {size[0]}x{size[1]}, the network {tuple(expected.shape)}")
    return found, expected


def first_that_works(path: Path, attempts: Mapping[str, Callable[[], Exported]]) -> Exported:
    """Of ways to make `path`, by their names. Raises ExportError with the reasons if there is none."""
    failures: list[str] = []
    for name, attempt in attempts.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of tracing: what it left out would show in the comparison
                return replace(attempt(), failures="; ".join(failures))
        except Exception as error:  # of any kind, out of the network's code
            failures.append(f"{name}: {_operator(error)}{first_line(error)}")
    path.unlink(missing_ok=True)
    raise ExportError("; ".join(failures))


def _operator(error: BaseException) -> str:
    """The operator that an exporter failed at, where its message may not say so."""
    frames = traceback.extract_tb(error.__traceback__)
    names = [frame.name for frame in frames if "symbolic_opset" in frame.filename]
    return f"operator {names[0]}: " if names else ""


def first_line(error: BaseException) -> str:
    """What went wrong, short."""
    lines: Sequence[str] = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:240]
