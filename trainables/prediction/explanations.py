"""Where a network looked: Grad-CAM of a class, and what the heads of attention layers attend to from a pixel.

Both are of one pass over the image at the size that the network is fed, without windows or views.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from segsweep.trainables.components import DataError
from segsweep.trainables.data.resize import resize_image
from segsweep.trainables.parts import part_of, tensors_of
from segsweep.trainables.prediction.predictor import Predictor
from segsweep.trainables.training.batches import normalize

if TYPE_CHECKING:
    from segsweep.trainables.components import Uint8

Heat = npt.NDArray[np.float32]  # (H, W), 0..1
Pixel = tuple[int, int]  # x, y

MOST_EXTRA_TOKENS = 16  # beside those of the image: class tokens, registers
NO_PLACES = "attends within windows, or from or to what is no place of the image; choose another layer"


class CannotExplainError(ValueError):
    """The network does not offer what is asked for, whatever the image."""


@dataclass(frozen=True)
class GradCam:
    """How much the deepest features of the encoder speak for a class (Selvaraju et al. 2017), here for all pixels that
    are predicted as it, or for one pixel (Vinogradova et al. 2020)."""

    class_: int
    pixel: Pixel | None = None

    def heat(self, predictor: Predictor, image: Uint8) -> Heat:
        """Raises CannotExplainError for a network whose encoder gives no maps; DataError for a pixel outside."""
        it, fed = predictor.trained, _fed(predictor, image)
        encoder = next((module for name, module in it.network.named_modules() if part_of(name) == "encoder"), None)
        maps: list[Tensor] = []
        with torch.enable_grad(), _first_input(it.network) as sizes, _outputs(encoder, maps), it.arithmetic():
            logits = it.network(fed.requires_grad_() * 1).float()[0]
        deep = [found for found in maps if found.ndim == 4 and found.requires_grad]
        if not deep:
            raise CannotExplainError(
                f"--grad-cam: the encoder of '{it.config.model.name}' gives no maps; try --attention"
            )
        (gradient,) = torch.autograd.grad(self._score(logits, image), deep[-1])
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        cam = (weights * deep[-1]).sum(dim=1)[0].clamp(min=0).detach()
        return _heat(cam, (fed.shape[2], fed.shape[3]), sizes[0] if sizes else (fed.shape[2], fed.shape[3]), image)

    def _score(self, logits: Tensor, image: Uint8) -> Tensor:
        if self.pixel is not None:
            row, column = _place(self.pixel, image, (logits.shape[1], logits.shape[2]))
            return logits[self.class_, row, column]
        predicted = logits.argmax(0) == self.class_
        return logits[self.class_][predicted if predicted.any() else ...].sum()


@dataclass(frozen=True)
class Attention:
    """What a head of an attention layer takes in at a pixel; layers and heads count from 1, head 0 is their mean."""

    layer: int
    head: int
    pixel: Pixel

    def heat(self, predictor: Predictor, image: Uint8) -> Heat:
        """Raises CannotExplainError for a layer or head that is not there, or attends within windows; DataError for a
        pixel outside."""
        it, fed = predictor.trained, _fed(predictor, image)
        watch = _Watch(self.layer)
        with torch.inference_mode(), _first_input(it.network) as sizes, it.arithmetic(), watch:
            it.network(fed)
        weights = self._weights(watch, it.config.model.name)
        padded = sizes[0]
        query, key = (_grid(tokens, padded) for tokens in weights.shape)
        if query is None or key is None:
            raise CannotExplainError(f"--attention {self.layer}: {NO_PLACES}")
        share = fed.shape[2] / padded[0], fed.shape[3] / padded[1]
        row, column = _place(self.pixel, image, (round(query[0] * share[0]), round(query[1] * share[1])))
        seen = weights[len(weights) - math.prod(query) + row * query[1] + column]
        return _heat(seen[-math.prod(key) :].reshape(key), (fed.shape[2], fed.shape[3]), padded, image)

    def _weights(self, watch: _Watch, model: str) -> Tensor:
        """(queries, keys) of the head. Raises CannotExplainError."""
        if watch.weights is None:
            there = f"has {watch.layers}" if watch.layers else "has none that can be watched; CNNs have --grad-cam"
            raise CannotExplainError(f"--attention: '{model}' has no attention layer {self.layer}; it {there}")
        if len(watch.weights) != 1:
            raise CannotExplainError(f"--attention {self.layer}: {NO_PLACES}")
        heads = watch.weights[0]
        if self.head > len(heads):
            raise CannotExplainError(f"--attention {self.layer}:{self.head}: the layer has the heads 1 to {len(heads)}")
        return heads.mean(0) if self.head == 0 else heads[self.head - 1]


Explanation = GradCam | Attention


def explained(explanations: Mapping[str, Explanation], predictor: Predictor, image: Uint8) -> Mapping[str, Heat]:
    """The heat of each. Raises CannotExplainError, DataError."""
    return {name: each.heat(predictor, image) for name, each in explanations.items()}


def heated(image: Uint8, heat: Heat, pixel: Pixel | None) -> Uint8:
    """(H, W, 3): the image in grey under the heat, from blue to red; a ring around the pixel."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    colors = cv2.cvtColor(cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    mixed = cv2.addWeighted(grey, 0.5, colors, 0.5, 0)
    if pixel is not None:
        radius = max(4, min(image.shape[:2]) // 60)
        cv2.circle(mixed, pixel, radius, (0, 0, 0), 4)
        cv2.circle(mixed, pixel, radius, (255, 255, 255), 2)
    return np.asarray(mixed, np.uint8)


class _Watch(TorchFunctionMode):
    """Notes the weights of one call of scaled_dot_product_attention, by which timm and transformers attend."""

    def __init__(self, layer: int) -> None:
        super().__init__()
        self.layers = 0
        self.weights: Tensor | None = None  # (N, heads, queries, keys)
        self._layer = layer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.layers += 1
            if self.layers == self._layer:
                self.weights = _attention(*args[:2], *args[3:4], **given)
        return func(*args, **given)


def _attention(
    query: Tensor, key: Tensor, attn_mask: Tensor | None = None, scale: float | None = None, **_: object
) -> Tensor:
    scores = query.float() @ key.float().mT * (scale or 1 / math.sqrt(query.shape[-1]))
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores.softmax(dim=-1)


def _fed(predictor: Predictor, image: Uint8) -> Tensor:
    """(1, 3, h, w), normalised."""
    size = predictor.manner.image_size
    resized = np.ascontiguousarray(image if size is None else resize_image(image, size))
    pixels = torch.from_numpy(resized).to(predictor.trained.device)[None].permute(0, 3, 1, 2)
    return normalize(pixels, predictor.trained.normalization)


@contextmanager
def _first_input(network: nn.Module) -> Iterator[list[tuple[int, int]]]:
    """(height, width) of what the first convolution sees: the image, padded as the network wants it."""
    sizes: list[tuple[int, int]] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes.append((inputs[0].shape[-2], inputs[0].shape[-1]))

    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    hooks = [module.register_forward_pre_hook(note) for module in convolutions]
    try:
        yield sizes
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _outputs(encoder: nn.Module | None, maps: list[Tensor]) -> Iterator[None]:
    """What the encoder returns goes into `maps`."""
    if encoder is None:
        yield
        return
    hook = encoder.register_forward_hook(lambda _module, _inputs, output: maps.extend(tensors_of(output)))
    try:
        yield
    finally:
        hook.remove()


def _grid(tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns of the tokens that are places of the image, the last ones; None if that fits no patch."""
    for stride in range(1, min(size) + 1):
        rows, columns = size[0] // stride, size[1] // stride
        fits = size == (rows * stride, columns * stride)
        if fits and 0 <= tokens - rows * columns <= MOST_EXTRA_TOKENS:
            return rows, columns
    return None


def _place(pixel: Pixel, image: Uint8, size: tuple[int, int]) -> tuple[int, int]:
    """Row and column of a pixel of the image in a map of that size. Raises DataError."""
    height, width = image.shape[:2]
    if not (0 <= pixel[0] < width and 0 <= pixel[1] < height):
        raise DataError(f"--pixel {pixel[0]},{pixel[1]}: is not in the image, which is {width}x{height}")
    return pixel[1] * size[0] // height, pixel[0] * size[1] // width


def _heat(map_: Tensor, fed: tuple[int, int], padded: tuple[int, int], image: Uint8) -> Heat:
    """Brought to the image's size, without what was padded, between 0 and 1."""
    upsampled = F.interpolate(map_[None, None].float(), size=padded, mode="bilinear", align_corners=False)[0, 0]
    inside = upsampled[: fed[0], : fed[1]].numpy(force=True)
    heat = cv2.resize(inside, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray((heat - heat.min()) / max(float(np.ptp(heat)), 1e-12), np.float32)
