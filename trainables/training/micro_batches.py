"""What becomes of a batch that memory does not hold: the network sees fewer images at once, the update stays.

A batch is cut into micro-batches, whose gradients add up with the weights that train_epoch gives the batches of an
update. For a loss that is a mean over pixels that is the gradient of the whole batch. BatchNorm, and losses that are no
such mean (Dice), see only what is in memory at once, which is a fact of the trial.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from segsweep.trainables.components import DoesNotFitError
from segsweep.trainables.plurals import counted
from segsweep.trainables.training.batches import Batch

logger = logging.getLogger(__name__)

T = TypeVar("T")

PHRASES = (
    "out of memory",  # CUDA, where it is not torch.OutOfMemoryError
    "allocate memory",  # torch on a CPU ("can't"), the operating system ("Cannot")
    "bad_alloc",
    "ALLOC_FAILED",  # cuDNN and cuBLAS
    "could not create a primitive",  # oneDNN, which says no more
    "Insufficient memory",  # OpenCV
)


def out_of_memory(error: BaseException | None) -> bool:
    """Whether the error, or what it was raised from, says that memory could not be had."""
    if error is None or isinstance(error, DoesNotFitError):  # of which all was tried
        return False
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(phrase in str(error) for phrase in PHRASES) or out_of_memory(error.__cause__)


def halving(attempt: Callable[[int], T], size: int, what: str, least: Callable[[], int] = lambda: 1) -> tuple[T, int]:
    """What `attempt(size)` gives, and the size: half of it, and so on, as long as memory does not suffice.

    Before another attempt nothing refers to what the last one computed. what: follows "1 image" in messages.
    Raises DoesNotFitError if `least()` images are too many, and whatever else an attempt raises.
    """
    while True:
        try:
            return attempt(size), size
        except Exception as error:
            if not out_of_memory(error):
                raise
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
        # from here on, nothing refers to the attempt's frames any more
        message = f"memory does not hold {counted(size, 'image')} {what}: {why}"
        if size <= (fewest := least()):
            raise DoesNotFitError(message)
        size = max(fewest, size // 2)
        logger.warning("%s; going on with %d", message, size)
        free()


def free() -> None:
    """Give back what nobody refers to."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def cut(batch: Batch, size: int | None, least: int = 1) -> Iterator[Batch]:
    """The batch in even parts of up to `size` images, or a few more where one of them would have less than `least`."""
    images = len(batch.images)
    if size is None or images <= size:
        yield batch
        return
    parts = max(1, min(-(-images // size), images // least))
    bounds = [images * number // parts for number in range(parts + 1)]
    for first, end in pairwise(bounds):
        yield Batch(batch.images[first:end], batch.labels[first:end], batch.indices[first:end])


def normalizes_batches(model: nn.Module) -> bool:
    """Whether it has BatchNorm that is not frozen."""
    norms = (module for module in model.modules() if isinstance(module, _BatchNorm))
    return any(norm.weight is None or norm.weight.requires_grad for norm in norms)
