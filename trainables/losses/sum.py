"""A weighted sum of losses: `losses: [{dice: 0.5, cross_entropy: 0.5}]`, and `type: sum` need not be said.

A term is a loss's name with its weight, or with its weight and options (`cross_entropy: {weight: 0.5, label_smoothing:
0.1}`; weight 1 where none is given). Weights and options may be domains: `dice: {uniform: [0.2, 2.0]}`. The sum is not
divided by the weights. Own code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, create_model, model_validator

from segsweep.trainables import catalog, components
from segsweep.trainables.components import ComponentOptions, LossComponent, LossContext, Problem, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

NO_TERMS = ("sum", "own")  # own is the model's alone: MaskedLoss adds nothing to it
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Terms(ComponentOptions):
    """Has a field for every loss; those that are set are the terms."""

    @model_validator(mode="after")
    def _has_terms(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must have a loss and its weight, such as `dice: 0.5`, or several")
        return self


def __getattr__(name: str) -> Any:
    """`Options`, made of the losses that there are, plug-ins included."""
    if name == "Options":
        return _options(tuple(catalog.LOSSES.names()))
    raise AttributeError(f"module {__name__} has no attribute {name}")


@cache
def _options(names: tuple[str, ...]) -> type[Terms]:
    fields: dict[str, Any] = {name: (_term(name), None) for name in names if name not in NO_TERMS}
    return create_model("Options", __base__=Terms, __module__=__name__, **fields)


def _term(name: str) -> Any:
    options = catalog.LOSSES.get(name).Options
    term = create_model(f"{name}_term", __base__=options, __module__=__name__, weight=(Weight, 1.0))
    alone, mapping = Annotated[Weight, Tag("float")], Annotated[term, Tag("dict")]
    return Annotated[alone | mapping, Discriminator(_form)]


def _form(value: Any) -> Literal["float", "dict"]:
    return "dict" if isinstance(value, dict | ComponentOptions) else "float"


def _terms(options: Terms) -> Iterator[tuple[str, float, LossComponent, Any]]:
    """Name, weight, component and its options."""
    for name in sorted(options.model_fields_set):
        component, term = catalog.LOSSES.get(name), getattr(options, name)
        yield (
            (name, term, component, component.Options())
            if _form(term) == "float"
            else (name, term.weight, component, term)
        )


def check(options: Terms, task: Task) -> Iterable[Problem]:
    for name, _, component, term in _terms(options):
        for option, message in component.check(term, task):
            yield Problem(f"{name}.{option}" if option else name, message)


def adds_up(options: Terms) -> bool:
    """The loss of a batch is the mean of its parts' losses by labelled pixels if that is so of every term."""
    return all(components.adds_up(component, term) for _, _, component, term in _terms(options))


def rises(options: Terms) -> bool:
    return any(components.rises(component, term) for _, _, component, term in _terms(options))


def build(options: Terms, context: LossContext) -> nn.Module:
    from torch import nn

    weights = {name: weight for name, weight, _, _ in _terms(options)}

    class WeightedSum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            losses = {name: component.build(term, context) for name, _, component, term in _terms(options)}
            self.terms = nn.ModuleDict(losses)

        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            costs = [weights[name] * loss(logits, labels, valid) for name, loss in self.terms.items()]
            total: Tensor = sum(costs[1:], start=costs[0])
            return total

    return WeightedSum()
