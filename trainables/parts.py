"""Which part of a network a parameter belongs to - encoder, decoder or head - and to which stage of the encoder.

The names of modules decide, so an architecture needs nothing but attributes named as below: what lies inside an
encoder is encoder, what makes the logits is head, everything else is decoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor, nn

Part = Literal["encoder", "decoder", "head"]

# of SMP and our own networks, then what transformers calls its base models
ENCODERS = {"encoder", "backbone", "image_encoder"}
ENCODERS |= {"segformer", "beit", "data2vec_vision", "dpt", "mobilenet_v2", "mobilevit", "mobilevitv2"}
ENCODERS |= {"eomt"}  # all of it but what BESIDE tells
DECODERS = {"decoder", "decode_head", "pixel_decoder"}  # an encoder inside of one belongs to it
HEADS = {"segmentation_head", "classifier", "head", "class_predictor", "class_embed"}
BESIDE: dict[str, Part] = {
    **dict.fromkeys(("query", "upscale_block", "mask_head", "attn_mask_probs", "criterion"), "decoder"),
    "class_predictor": "head",
}
SIDE = 64  # of the image that stages are found with


def part_of(name: str) -> Part:
    """name: of a parameter or a module, as named_parameters and named_modules give it."""
    words = name.split(".")
    for word in words:
        if word in ENCODERS:
            return next((BESIDE[inner] for inner in words if inner in BESIDE and word == "eomt"), "encoder")
        if word in DECODERS:
            break
    return "head" if HEADS & {*words} else "decoder"


def stages_of(model: nn.Module) -> dict[str, int]:
    """The stage (1, 2 ...) of each parameter of the encoder: the first of its feature maps that depends on it.

    So stages mean the same in every encoder: in a ResNet the stem is stage 1 and layer1 to layer4 are 2 to 5, in a
    SegFormer there are 4. Costs a pass over a small image. Raises ValueError if the encoder gives no feature maps.
    """
    import torch

    parameters = {name: p for name, p in model.named_parameters() if part_of(name) == "encoder"}
    required = {name: p.requires_grad for name, p in parameters.items()}
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    stages: dict[str, int] = {}
    maps = [found for found in _feature_maps(model) if found.requires_grad]  # SMP's first is the image itself
    for stage, features in enumerate(maps, start=1):
        left = [name for name in parameters if name not in stages]
        gradients = torch.autograd.grad(
            features.sum(), [parameters[name] for name in left], retain_graph=True, allow_unused=True
        )
        stages |= {name: stage for name, gradient in zip(left, gradients, strict=True) if gradient is not None}
    for name, parameter in parameters.items():
        parameter.requires_grad_(required[name])
    if not maps:
        raise ValueError("the network's encoder gives no feature maps, so it has no stages to freeze or to tell apart")
    return {name: stages.get(name, len(maps)) for name in parameters}


def _feature_maps(model: nn.Module) -> list[Tensor]:
    """What the encoder returns for one image, in evaluation mode so that no statistics move."""
    import torch

    found: list[Tensor] = []
    encoder = next((module for name, module in model.named_modules() if part_of(name) == "encoder"), None)
    if encoder is None:
        return found
    device = next(model.parameters()).device
    training = {name: module.training for name, module in model.named_modules()}
    hook = encoder.register_forward_hook(lambda _module, _inputs, output: found.extend(tensors_of(output)))
    try:
        with torch.enable_grad():
            model.eval()(torch.zeros(1, 3, SIDE, SIDE, device=device))
    finally:
        hook.remove()
        for name, module in model.named_modules():
            module.training = training[name]
    return found


def tensors_of(output: Tensor | Iterable[Tensor] | Mapping[str, object]) -> Iterable[Tensor]:
    """SMP returns a list, for its DPT with a list of further tokens beside it, transformers an output object."""
    import torch

    for name in ("feature_maps", "hidden_states"):
        maps: tuple[Tensor, ...] | None = getattr(output, name, None)
        if maps is not None:
            return maps
    if isinstance(output, tuple) and isinstance(output[0], list):
        output = output[0]
    return (output,) if isinstance(output, torch.Tensor) else tuple(v for v in output if isinstance(v, torch.Tensor))
