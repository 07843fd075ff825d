"""A trial whose numbers broke, and where they broke first."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from segsweep.trainables.components import Outputs


class DivergedError(RuntimeError):
    """The loss is no longer a number. Going on would only spend time."""

    def __init__(self, loss: float, epoch: int, step: int, lr: float, *, broken: str, split: str = "train") -> None:
        """broken: what `first_broken` found."""
        where = f"{split} loss is {loss} in epoch {epoch}, step {step}, at lr {lr:g}"
        super().__init__(f"{where}: {broken} is not finite; a lower lr may cure it, or clip_norm")
        self.epoch, self.step, self.lr, self.broken = epoch, step, lr, broken


def first_broken(model: nn.Module, images: Tensor | None = None) -> str:
    """The first tensor that is not finite, in words: of the images, the weights, the statistics, or along the network.

    Looks along the network by sending the images through it once more. Finds `the loss` where all else is sound.
    """
    if images is not None and not _finite(images):
        return "an image"
    for noun, tensors in (("weight", model.named_parameters()), ("statistic", model.named_buffers())):
        for name, tensor in tensors:
            if not _finite(tensor):
                return f"{noun} {name}"
    return next(iter(_broken_outputs(model, images)), "the loss") if images is not None else "the loss"


def _broken_outputs(model: nn.Module, images: Tensor) -> list[str]:
    """In the order in which they are computed; the innermost module first."""
    found: list[str] = []

    def note(name: str, output: object) -> None:
        if not all(_finite(tensor) for tensor in _tensors(output)):
            found.append(f"the output of {name or 'the network'}")

    # a compiled network would not look at hooks that come after it was compiled
    with ExitStack() as hooks, torch.no_grad(), torch.compiler.set_stance("force_eager"):
        for name, module in model.named_modules():
            hook = module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
            hooks.callback(hook.remove)
        model(images)
    return found


def _tensors(output: object) -> list[Tensor]:
    match output:
        case Tensor():
            return [output]
        case Outputs():
            return [output.logits]
        case dict():
            return [tensor for value in output.values() for tensor in _tensors(value)]
        case list() | tuple():
            return [tensor for value in output for tensor in _tensors(value)]
    return []


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())
