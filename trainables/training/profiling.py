"""What a model costs on this machine: size, work, time and memory, before any data is at hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segsweep.trainables.components import ComponentOptions, ModelComponent, Outputs, Task
from segsweep.trainables.training.memory import peak_gib, reset_peak
from segsweep.trainables.training.network_costs import gmacs, latency_ms

STEPS = 5
WARM_UP = 1


class Size(NamedTuple):
    params_m: float  # millions of parameters
    gmacs: float  # 10^9 multiply-accumulates of one image's forward pass


class Profile(NamedTuple):
    params_m: float
    gmacs: float
    latency_ms: float  # one image, batch 1, forward only: median
    eval_images_per_second: float  # forward only, in batches
    train_images_per_second: float  # forward, cross entropy, backward and AdamW, in batches
    eval_memory_gib: float  # at most while predicting a batch; on a CPU beyond what the process held before
    train_memory_gib: float


def size(architecture: ModelComponent, options: ComponentOptions, task: Task) -> Size:
    """Raises WeightsError."""
    return _size(architecture.build(options, task), task, torch.device("cpu"))


def profile(architecture: ModelComponent, options: ComponentOptions, task: Task, device: torch.device) -> Profile:
    """Build the model and let it predict and train a few batches of noise. Raises WeightsError."""
    reset_peak(device)
    before = 0.0 if device.type == "cuda" else peak_gib(device)
    model = architecture.build(options, task).to(device)
    counted = _size(model, task, device)
    latency = latency_ms(model, task.image_size, device)
    images = torch.randn(task.batch_size, task.in_channels, *task.image_size, device=device)
    reset_peak(device)
    predicting_s = _median_s(_predictions(model, images), device)
    eval_gib = max(0.0, peak_gib(device) - before)  # pages that were given back meanwhile
    reset_peak(device)
    training_s = _median_s(_updates(model, images, task), device)
    train_gib = max(0.0, peak_gib(device) - before)
    rates = task.batch_size / predicting_s, task.batch_size / training_s
    return Profile(*counted, latency, *rates, eval_gib, train_gib)


def _size(model: nn.Module, task: Task, device: torch.device) -> Size:
    return Size(
        sum(p.numel() for p in model.parameters()) / 1e6, gmacs(model, task.image_size, device, task.in_channels)
    )


def _predictions(model: nn.Module, images: Tensor) -> Callable[[], None]:
    model.eval()

    def predict() -> None:
        with torch.inference_mode():
            model(images)

    return predict


def _updates(model: nn.Module, images: Tensor, task: Task) -> Callable[[], None]:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    labels = torch.randint(task.num_classes, (len(images), *task.image_size), device=images.device)

    def update() -> None:
        outputs: Tensor | Outputs = model(images)
        optimizer.zero_grad(set_to_none=True)
        sum(_losses(outputs, labels), torch.zeros((), device=images.device)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return update


def _losses(outputs: Tensor | Outputs, labels: Tensor) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield F.cross_entropy(outputs, labels)
    elif outputs.own_loss is not None:
        yield outputs.own_loss(labels)
    else:
        yield from (F.cross_entropy(logits, labels) for logits in (outputs.logits, *(a for _, a in outputs.auxiliary)))


def _median_s(step: Callable[[], None], device: torch.device) -> float:
    took = []
    for _ in range(WARM_UP + STEPS):
        began = time.perf_counter()
        step()
        if device.type == "cuda":  # where calls return before the work is done
            torch.cuda.synchronize(device)
        took.append(time.perf_counter() - began)
    return median(took[WARM_UP:])
