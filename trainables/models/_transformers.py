"""What the models of transformers share: built from a configuration, without a download, or with weights by name."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from segsweep.trainables.components import Problem, WeightsError
from segsweep.trainables.data.normalization import IMAGENET, Normalization
from segsweep.trainables.model_options import ModelOptions
from segsweep.trainables.parts import part_of
from segsweep.trainables.weights.hub import cause, unavailable
from segsweep.trainables.weights.sources import Kind, encoder_source

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

NORMS = "hidden_states_norms"  # of a backbone's outputs: the weights of a classifier have none


class TransformersOptions(ModelOptions):
    loads: ClassVar[frozenset[Kind]] = frozenset({"folder", "hub"})
    shaped_by_weights: ClassVar[bool] = True  # such as the number of positions

    expects: ClassVar[Normalization] = IMAGENET  # the image processor of the family

    def normalization(self) -> Normalization:
        return self.expects

    @property
    def library_weights(self) -> str:
        """`encoder_weights` where transformers finds and loads them itself, else none."""
        return self.encoder_weights if encoder_source(self.encoder_weights).kind in self.loads else "none"


def weights_problems(options: Any, example: str) -> Iterator[Problem]:
    """example: a repository that has such weights."""
    if encoder_source(options.encoder_weights).kind == "name":
        given = f"no weights are called '{options.encoder_weights}'" if options.encoder_weights else "is empty"
        yield Problem("encoder_weights", f"{given}; give none, a file, a folder, or a repository such as {example}")


def build_network(
    network: type[PreTrainedModel], config: PretrainedConfig, weights: str, example: str, adopt: tuple[str, ...] = ()
) -> nn.Module:
    """A network with the encoder of `weights`, and whatever else of theirs fits the task.

    weights: none, a folder or a repository, of a whole network or of its backbone alone; adopt: what of their
    configuration replaces ours, such as the size that position embeddings are for.
    Raises WeightsError if they cannot be had or are of another encoder.
    """
    if weights == "none":
        return _scaled(network(config))
    found = pretrained_config(weights, example)
    backbone = getattr(config, "backbone_config", None)
    if found.model_type == config.model_type:
        for name in adopt:
            setattr(config, name, getattr(found, name))
        theirs = found if backbone is None else found.backbone_config
        _check_depth(weights, theirs, config if backbone is None else backbone)
        return _pretrained(network, config, weights)
    if backbone is not None and found.model_type == backbone.model_type:
        _check_depth(weights, found, backbone)
        return _with_backbone(_scaled(network(config)), backbone, weights)
    known = config.model_type if backbone is None else f"{config.model_type} or a {backbone.model_type}"
    raise WeightsError(f"encoder_weights '{weights}' are of a {found.model_type}, not of a {known} such as {example}")


def load_encoder(network: nn.Module, weights: str, example: str, names: Iterable[tuple[str, str]]) -> nn.Module:
    """`network` with an encoder that transformers has on its own. Raises WeightsError if it does not fit.

    names: what the names of its tensors begin with, and what they begin with in the network.
    """
    from transformers import AutoModel

    found = _pretrained(AutoModel, pretrained_config(weights, example), weights, alone=True).state_dict()
    for theirs, ours in names:
        found = {
            ours + key.removeprefix(theirs) if key.startswith(theirs) else key: value for key, value in found.items()
        }
    config: Any = network.config
    wanted = {key: value for key, value in network.state_dict().items() if _in_encoder(key, config)}
    unfit = [key for key, value in wanted.items() if key not in found or found[key].shape != value.shape]
    deeper = [key for key in found.keys() - wanted.keys() if key.startswith("layers.")]
    if unfit or deeper:
        message = f"encoder_weights '{weights}' are of another encoder: {len(unfit + deeper)} tensors do not fit"
        raise WeightsError(f"{message}, such as {min(unfit + deeper)}; make the two agree")
    network.load_state_dict(found, strict=False)
    return network


def without(network: nn.Module, *unused: str) -> nn.Module:
    """`network` with identities for submodules whose output segmentation makes no use of: nothing trains them."""
    from torch import nn

    for name in unused:
        network.set_submodule(name, nn.Identity())
    return network


def pretrained_config(weights: str, example: str) -> PretrainedConfig:
    """The configuration that comes with the weights. Raises WeightsError."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(**_where(weights))
    except (OSError, ValueError) as error:  # every error of the hub is an OSError; ValueError: no network of theirs
        raise _unavailable(weights, example, error) from error


def _with_backbone(network: nn.Module, config: PretrainedConfig, weights: str) -> nn.Module:
    backbone = next(module for name, module in network.named_modules() if part_of(name) == "encoder")
    backbone.load_state_dict(_pretrained(type(backbone), config, weights, alone=True).state_dict())
    return network


def _check_depth(weights: str, found: PretrainedConfig, ours: PretrainedConfig) -> None:
    """Raises WeightsError for weights of a deeper or a shallower encoder; other widths show in the shapes."""
    for name in ("depths", "num_hidden_layers"):
        theirs, wanted = getattr(found, name, None), getattr(ours, name, None)
        if theirs is not None and wanted is not None and theirs != type(theirs)(wanted):
            message = f"encoder_weights '{weights}' are of another encoder, with {name} {theirs} instead of {wanted}"
            raise WeightsError(f"{message}; make the two agree")


def _pretrained(network: Any, config: PretrainedConfig, weights: str, alone: bool = False) -> nn.Module:
    """A network whose encoder has to come with the weights; alone: it is nothing but an encoder."""
    try:
        loaded, report = network.from_pretrained(
            **_where(weights),
            config=config,
            ignore_mismatched_sizes=True,  # the head's classes; the encoder is checked below
            use_safetensors=True,  # tensors only, and transformers does not ask the hub to convert a pickle
            output_loading_info=True,
        )
    except OSError as error:
        raise _unavailable(weights, "none", error) from error
    missing = [k for k in report["missing_keys"] if (alone or _in_encoder(k, config)) and NORMS not in k]
    if missing:  # they would be random without a word
        raise WeightsError(f"encoder_weights '{weights}' lack {len(missing)} tensors, such as {missing[0]}")
    unfit = {key: theirs for key, theirs, _ in report["mismatched_keys"] if alone or _in_encoder(key, config)}
    other = [f"{key} {tuple(theirs)}" for key, theirs in unfit.items()]
    if other:
        message = f"encoder_weights '{weights}' are of another encoder: {len(other)} tensors do not fit"
        raise WeightsError(f"{message}, such as {min(other)}; make the two agree")
    return _scaled(loaded, set(report["missing_keys"]))


def _where(weights: str) -> dict[str, str]:
    """The arguments of from_pretrained that find them."""
    source = encoder_source(weights)
    if source.kind == "folder":
        return {"pretrained_model_name_or_path": str(source.path)}
    revision = {"revision": source.revision} if source.revision else {}
    return {"pretrained_model_name_or_path": source.name, **revision}


def _in_encoder(name: str, config: PretrainedConfig) -> bool:
    """Of a parameter in a whole network; EoMT's, which are nearly all of its encoder, get their word for parts.py."""
    return part_of(f"eomt.{name}" if config.model_type.startswith("eomt") else name) == "encoder"


def _scaled(network: nn.Module, fresh: Container[str] | None = None) -> nn.Module:
    """`network` with BatchNorm that scales by 1 at first, and embeddings of queries and scales that differ.

    fresh: names of parameters to look at, None for all. transformers draws the scales of several architectures around 0
    (MobileViT, MaskFormer), and queries nearly alike (MaskFormer, OneFormer), not as the papers' code does: without
    weights their signals die out, and all queries learn the same.
    """
    from torch import nn

    for name, module in network.named_modules():
        if fresh is not None and f"{name}.weight" not in fresh:
            continue
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)
    return network


def _unavailable(weights: str, example: str, error: Exception) -> WeightsError:
    named = f"encoder_weights '{weights}'"
    if weights.count("/") == 1 and not Path(weights).exists():
        return unavailable(named, weights, error)
    return WeightsError(
        f"{named} cannot be loaded ({cause(error)}). Give a folder with config.json and model.safetensors (what "
        f"save_pretrained of transformers writes), a repository of the hub such as {example}, or none"
    )
