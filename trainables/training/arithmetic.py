"""What a network computes with: the format of its numbers, the layout of its images in memory, compiled or not.

Weights, their gradients and the optimizer's state are float32 in any case, and so is the loss, see masked_loss.py.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.amp import GradScaler

from segsweep.trainables.components import Family
from segsweep.trainables.config import TrialConfig

FORMATS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Arithmetic:
    """Called, it is the context of a forward pass."""

    device: str = "cpu"  # its type
    precision: str = "float32"  # of FORMATS; what else there is than float32 is autocast, operation by operation
    channels_last: bool = False
    compiled: bool = False

    def __call__(self) -> AbstractContextManager[object]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device, FORMATS[self.precision])

    def settle(self, model: nn.Module) -> None:
        """Lay the weights out, and compile the network when it is called for the first time.

        The names of weights and statistics stay as they are, and a copy is a network that is not compiled.
        """
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        if self.compiled:
            # torch's own default lies in the shared /tmp, under a name that others can take first; it holds pickles
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path.home() / ".cache/torchinductor"))
            model.compile()

    def scaler(self) -> GradScaler:
        """Keeps small gradients above what fp16 can hold, and skips updates whose gradients overflowed."""
        return GradScaler(self.device, enabled=self.precision == "fp16")

    @property
    def facts(self) -> dict[str, str]:
        return {"precision": self.precision, "channels_last": str(self.channels_last).lower()}


FLOAT32 = Arithmetic()


def arithmetic(config: TrialConfig, family: Family, device: torch.device) -> Arithmetic:
    """What the configuration asks for, `auto` settled for this device. Raises ValueError for fp16 on a CPU."""
    precision, channels_last = config.precision, config.channels_last
    if precision == "auto":
        bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if bf16 else "float32"
    if channels_last == "auto":  # convolutions of a GPU are faster for it, attention has no use for it
        channels_last = device.type == "cuda" and family == "cnn"
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision: fp16 needs a GPU, and this trial runs on a CPU; choose auto, bf16 or float32")
    return Arithmetic(device.type, precision, channels_last, config.compile)
