"""Operators that torch's tracing exporter does not know, though ONNX can express them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.onnx import symbolic_helper
from torch.onnx.utils import register_custom_op_symbolic

SINCE = 9  # the first opset of those exporters


@contextmanager
def everything_expressible() -> Generator[None]:
    """While a network is traced; adaptive pooling then is a product of matrices, which knows its sizes at run time."""
    register_custom_op_symbolic("aten::mT", _transposed, SINCE)
    register_custom_op_symbolic("aten::_upsample_bicubic2d_aa", _bicubic, SINCE)
    pool = F.adaptive_avg_pool2d
    F.adaptive_avg_pool2d = _pooled  # type: ignore[assignment]
    try:
        yield
    finally:
        F.adaptive_avg_pool2d = pool


def _pooled(images: Tensor, output_size: int | tuple[int | None, int | None]) -> Tensor:
    """As F.adaptive_avg_pool2d: bin i of b averages what lies between floor(i n / b) and ceil((i + 1) n / b)."""
    bins = (output_size, output_size) if isinstance(output_size, int) else output_size
    if tuple(bins) == (1, 1):
        return images.mean((2, 3), keepdim=True)
    rows, columns = (_bins(images, axis, count) for axis, count in zip((2, 3), bins, strict=True))
    return rows @ images @ columns.T


def _bins(images: Tensor, axis: int, count: int | None) -> Tensor:
    """(bins, pixels) the weight of each pixel."""
    pixels = torch.arange(images.shape[axis])
    count_ = images.shape[axis] if count is None else count
    number = torch.arange(count_)[:, None]
    size = torch.as_tensor(images.shape[axis])
    begins, ends = number * size // count_, ((number + 1) * size + count_ - 1) // count_  # ONNX cuts, and floors not
    inside = ((pixels >= begins) & (pixels < ends)).to(images.dtype)
    return inside / inside.sum(1, keepdim=True)


def _transposed(g: Any, given: Any) -> Any:
    rank = symbolic_helper._get_tensor_rank(given) or 0
    return g.op("Transpose", given, perm_i=[*range(rank - 2), rank - 1, rank - 2])


def _bicubic(g: Any, given: Any, size: Any, align_corners: Any, *scales: Any) -> Any:
    """Resize with anti-aliasing, whose cubic has a = -0.5 as in Pillow."""
    nothing = g.op("Constant", value_t=torch.tensor([], dtype=torch.float32))
    shape = g.op("Slice", g.op("Shape", given), _numbers(g, 0), _numbers(g, 2))  # of batch and channels
    if symbolic_helper._is_packed_list(size):
        sides = [g.op("Unsqueeze", each, _numbers(g, 0)) for each in symbolic_helper._unpack_list(size)]
        size = g.op("Concat", *sides, axis_i=0)
    sizes = g.op("Concat", shape, g.op("Cast", size, to_i=7), axis_i=0)  # 7: int64
    return g.op(
        "Resize",
        given,
        nothing,
        nothing,
        sizes,
        antialias_i=1,
        mode_s="cubic",
        cubic_coeff_a_f=-0.5,
        coordinate_transformation_mode_s="half_pixel",
        exclude_outside_i=1,
    )


def _numbers(g: Any, *numbers: int) -> Any:
    return g.op("Constant", value_t=torch.tensor(numbers))
