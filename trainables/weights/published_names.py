"""Networks of transformers have other names in memory than in the files that are published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch import nn


def as_loaded(network: nn.Module, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors by the names that transformers gives them when it loads them; as they are for other networks.

    Of those that have another shape in the network there is only the shape; those without a place keep their names.
    """
    inner: Any = next((module for module in network.modules() if hasattr(module, "base_model_prefix")), None)
    if inner is None:
        return tensors
    loaded, report = _loaded(inner, tensors)
    other = {name: torch.empty(shape, device="meta") for name, shape, _ in report["mismatched_keys"]}
    absent = {*report["missing_keys"], *other}
    found = {name: value for name, value in loaded.state_dict().items() if name not in absent}
    return found | other | {name: tensors[name] for name in report["unexpected_keys"] if name in tensors}


def _loaded(inner: Any, tensors: Mapping[str, Tensor]) -> tuple[nn.Module, Mapping[str, Any]]:
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it prints a table of what does not fit
    try:
        loaded, report = type(inner).from_pretrained(
            None, config=inner.config, state_dict=dict(tensors), ignore_mismatched_sizes=True, output_loading_info=True
        )
    finally:
        logging.set_verbosity(before)
    return loaded, report
