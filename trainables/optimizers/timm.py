"""Any optimizer of timm by its name (`timm.optim.list_optimizers()`; Wightman 2019), such as lamb, adan or adafactor.

Left out are those that need other packages or a GPU (bnb*, fused*), second-order gradients (adahessian) or a compiler
(kron*). `arguments` go to the optimizer as they are: `{type: timm, optimizer: adan, arguments: {eps: 1.0e-6}}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, JsonValue

from segsweep.trainables.catalog import did_you_mean
from segsweep.trainables.components import Family
from segsweep.trainables.optimizers._groups import OptimizerOptions, parameter_groups

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

DOMAINS: Mapping[Family, Mapping[str, Mapping[str, object]]] = {
    # as wide as these optimizers differ: whoever chooses one narrows it
    "cnn": {
        "lr": {"loguniform": [1e-5, 1e-1], "first": 1e-3},
        "weight_decay": {"loguniform": [1e-5, 1e-1], "first": 0.01},
    },
    "transformer": {
        "lr": {"loguniform": [1e-6, 1e-2], "first": 1e-4},
        "weight_decay": {"loguniform": [1e-5, 1e-1], "first": 0.01},
    },
}

# a list here, since looking a name up in timm imports torch; a test holds it against timm's
NAMES = tuple(
    """
    adabelief adadelta adafactor adafactorbv adafactorbvc adagrad adam adamax adamc adamp adamuon adamw adamwlegacy adan
    adanw adopt adoptc adoptw cadafactor cadafactorbv cadafactorbvc cadamc cadamp cadamw cadan cadanw cadopt cadoptc
    cadoptw clamb clambw claprop clion clionc cmars cnadamc cnadamw crmsproptf csgdc csgdp csgdw lamb lambc lambcd
    lambcw lambw laprop lapropc larc lars lion lionc madgrad madgradw mars momentum muon nadam nadamc nadamlegacy
    nadamuon nadamw nesterov nesterovw nlarc nlars nmuon novograd novogradc novogradw radabelief radam radamlegacy
    radamw rmsprop rmsproptf rmsproptfc rmsproptfw sgd sgdc sgdp sgdw
    """.split()  # noqa: SIM905 (a name a line would be a page)
)


def known(name: str) -> str:
    """`name`, if it is one of timm's. Raises ValueError."""
    if name not in NAMES:
        raise ValueError(f"timm has no optimizer '{name}' for us.{did_you_mean(name, NAMES)} Known: {', '.join(NAMES)}")
    return name


class Options(OptimizerOptions):
    optimizer: Annotated[str, AfterValidator(known), Field(json_schema_extra={"enum": [*NAMES]})]
    arguments: dict[str, JsonValue] = {}


def build(options: Options, model: nn.Module) -> Optimizer:
    """Raises ValueError for an argument that the optimizer does not take."""
    from timm.optim import create_optimizer_v2

    groups = parameter_groups(options, model)
    try:
        optimizer: Optimizer = create_optimizer_v2(
            groups, options.optimizer, lr=options.lr, weight_decay=options.weight_decay, **options.arguments
        )
    except TypeError as error:
        raise ValueError(f"arguments of timm's {options.optimizer}: {error}; see timm.optim") from error
    return optimizer
