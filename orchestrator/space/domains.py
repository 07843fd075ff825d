"""Domains: the values that a parameter may take, chosen by the searcher. A list crosses; a domain is searched.

In YAML: `lr: {loguniform: [1e-5, 1e-2], first: 6e-5}`. `first` is the value of the first trial, usually the
recipe's published one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import JsonValue

from segsweep.orchestrator.space.source import KeyPath, dotted

Kind = Literal["uniform", "loguniform", "int", "logint"]
KINDS: tuple[str, ...] = ("uniform", "loguniform", "int", "logint", "choice")


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included; `log` ones are searched by their logarithm."""

    kind: Kind
    low: float
    high: float
    first: float | None = None

    @property
    def log(self) -> bool:
        return self.kind.startswith("log")

    @property
    def integer(self) -> bool:
        return self.kind.endswith("int")

    @property
    def size(self) -> float:
        """How many different values there are."""
        return self.high - self.low + 1 if self.integer else math.inf

    def samples(self) -> tuple[JsonValue, ...]:
        """The values that show whether the whole domain is legal."""
        return (int(self.low), int(self.high)) if self.integer else (float(self.low), float(self.high))


@dataclass(frozen=True)
class Choice:
    """One of `values`; a value may hold domains of its own, which then exist only where it is chosen."""

    values: tuple[JsonValue, ...]
    first: JsonValue = None

    @property
    def size(self) -> float:
        return sum(math.prod(d.size for _, d in domains_in(value)) for value in self.values)

    def samples(self) -> tuple[JsonValue, ...]:
        return self.values


Domain: TypeAlias = Range | Choice
Suggest: TypeAlias = Callable[[str, Domain], JsonValue]


class DomainError(ValueError):
    """A domain that cannot be; the message says the value, what is allowed and the remedy."""


def is_domain(raw: JsonValue) -> bool:
    """True for a mapping that means a domain: one of KINDS, and perhaps `first`."""
    return isinstance(raw, dict) and bool(raw.keys() & set(KINDS)) and raw.keys() <= {*KINDS, "first"}


def parse(raw: Mapping[str, JsonValue]) -> Domain:
    """The domain that a mapping in the YAML's notation stands for. Raises DomainError."""
    kinds = [kind for kind in KINDS if kind in raw]
    if len(kinds) != 1:
        raise DomainError(f"a domain is one of {', '.join(KINDS)}, not {' and '.join(kinds)} at once")
    kind, bounds, first = kinds[0], raw[kinds[0]], raw.get("first")
    if not isinstance(bounds, list):
        raise DomainError(f"{kind} takes a list, e.g. {{{kind}: {_example(kind)}}}, not {bounds!r}")
    if kind == "choice":
        return _choice(bounds, first)
    return _range(kind, bounds, first)


def _example(kind: str) -> str:
    return {"choice": "[a, b]", "loguniform": "[1e-5, 1e-2]", "uniform": "[0.0, 0.5]"}.get(kind, "[1, 8]")


def _choice(values: list[JsonValue], first: JsonValue) -> Choice:
    if not values:
        raise DomainError("choice needs at least one value, e.g. {choice: [0.9, 0.99]}")
    if any(value in values[:i] for i, value in enumerate(values)):
        raise DomainError(f"choice has a value twice: {values}")
    if first is not None and first not in values:
        raise DomainError(f"first: {first!r} is none of the choices {values}")
    return Choice(tuple(values), first)


def _range(kind: str, bounds: list[JsonValue], first: JsonValue) -> Range:
    numbers = [b for b in bounds if isinstance(b, int | float) and not isinstance(b, bool) and math.isfinite(b)]
    if len(bounds) != 2 or len(numbers) != 2:
        raise DomainError(f"{kind} takes two finite numbers [low, high], not {bounds}")
    low, high = numbers
    if low >= high:
        raise DomainError(f"low {low:g} must be below high {high:g}; for one value write the value itself")
    if kind.startswith("log") and low <= 0:
        raise DomainError(f"low {low:g} has no logarithm; give a low above 0, or use {kind.removeprefix('log')}")
    if kind.endswith("int") and not all(float(n).is_integer() for n in numbers):
        raise DomainError(f"{kind} takes whole numbers, not {bounds}")
    if first is not None and not (isinstance(first, int | float) and low <= first <= high):
        raise DomainError(f"first: {first!r} is outside [{low:g}, {high:g}]")
    if kind.endswith("int") and first is not None and not float(first).is_integer():
        raise DomainError(f"first: {first!r} is no whole number")
    return Range(kind, low, high, first)  # type: ignore[arg-type]  # kind is one of KINDS without "choice"


def published(domain: Domain) -> JsonValue:
    """The value of the first trial; None if the domain has none."""
    if isinstance(domain, Choice) or domain.first is None:
        return domain.first
    return int(domain.first) if domain.integer else float(domain.first)


def at_fraction(domain: Domain, fraction: float) -> JsonValue:
    """The value below which `fraction`, in [0, 1), of the domain lies; of a log domain, by logarithm."""
    if isinstance(domain, Choice):
        return domain.values[int(fraction * len(domain.values))]
    edge = 0.5 if domain.integer else 0.0
    low, high = domain.low - edge, domain.high + edge
    value = low * (high / low) ** fraction if domain.log else low + (high - low) * fraction
    inside = min(max(math.floor(value + edge) if domain.integer else value, domain.low), domain.high)
    return int(inside) if domain.integer else float(inside)


def domains_in(tree: JsonValue, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Domain]]:
    """Every domain of a tree of options, outermost only. Raises DomainError."""
    if isinstance(tree, dict):
        if is_domain(tree):
            yield path, parse(tree)
        else:
            for key, child in tree.items():
                yield from domains_in(child, (*path, key))
    elif isinstance(tree, list):
        for i, child in enumerate(tree):
            yield from domains_in(child, (*path, i))


def resolve(tree: JsonValue, suggest: Suggest, path: KeyPath = ()) -> JsonValue:
    """The tree with every domain replaced by `suggest(dotted path, domain)`, domains inside a choice included."""
    if isinstance(tree, dict):
        if is_domain(tree):
            domain = parse(tree)
            value = suggest(dotted(path), domain)
            if isinstance(domain, Choice) and isinstance(value, dict | list):
                return resolve(value, suggest, (*path, domain.values.index(value)))
            return value
        return {key: resolve(child, suggest, (*path, key)) for key, child in tree.items()}
    if isinstance(tree, list):
        return [resolve(child, suggest, (*path, i)) for i, child in enumerate(tree)]
    return tree


def sampled_options(options: dict[str, JsonValue]) -> Iterator[dict[str, JsonValue]]:
    """Options with each domain at its first value, then one domain after the other at its further values.

    Raises DomainError.
    """
    domains = list(domains_in(options))
    base: Any = options
    for path, domain in domains:
        base = _replaced(base, path, domain.samples()[0])
    yield from sampled_options(base) if any(True for _ in domains_in(base)) else (base,)
    for path, domain in domains:
        for value in domain.samples()[1:]:
            other: Any = _replaced(base, path, value)
            yield from sampled_options(other) if isinstance(domain, Choice) else (other,)


def _replaced(tree: Any, path: KeyPath, value: JsonValue) -> Any:
    if not path:
        return value
    if isinstance(tree, list):
        return [_replaced(child, path[1:], value) if i == path[0] else child for i, child in enumerate(tree)]
    return {key: _replaced(child, path[1:], value) if key == path[0] else child for key, child in tree.items()}


def raw_domains(tree: JsonValue, path: KeyPath = ()) -> Iterator[tuple[KeyPath, dict[str, JsonValue]]]:
    """Every mapping that means a domain, well-formed or not, those inside choices included."""
    if isinstance(tree, dict) and is_domain(tree):
        yield path, tree
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in children:
        yield from raw_domains(child, (*path, key))
