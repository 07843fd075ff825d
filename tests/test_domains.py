from __future__ import annotations

import math
from typing import Any

import pytest

from segsweep.orchestrator.space.domains import (
    Choice,
    DomainError,
    Range,
    domains_in,
    is_domain,
    parse,
    resolve,
    sampled_options,
)


def test_ranges_keep_their_kind_bounds_and_first_point() -> None:
    domain = parse({"loguniform": [1e-5, 1e-2], "first": 6e-5})
    assert domain == Range("loguniform", 1e-5, 1e-2, 6e-5)
    assert domain.size == math.inf


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"uniform": [2, 1]}, "low 2 must be below high 1"),
        ({"uniform": [1, 1]}, "must be below"),
        ({"loguniform": [0, 1]}, "low 0 has no logarithm"),
        ({"loguniform": [-1, 1]}, "has no logarithm"),
        ({"int": [1.5, 3]}, "whole numbers"),
        ({"uniform": [1, 2, 3]}, "two finite numbers"),
        ({"uniform": ["a", 2]}, "two finite numbers"),
        ({"uniform": [0, float("inf")]}, "two finite numbers"),
        ({"uniform": 3}, "takes a list"),
        ({"choice": []}, "at least one value"),
        ({"choice": [1, 1]}, "twice"),
        ({"choice": [1, 2], "first": 3}, "none of the choices"),
        ({"uniform": [0, 1], "first": 3}, "outside"),
        ({"uniform": [0, 1], "choice": [1]}, "not uniform and choice at once"),
    ],
)
def test_impossible_domains_are_refused_with_the_reason(raw: dict[str, Any], message: str) -> None:
    assert is_domain(raw)
    with pytest.raises(DomainError, match=message):
        parse(raw)


def test_mappings_of_options_are_no_domains() -> None:
    assert not is_domain({"type": "adamw", "lr": 1e-3})
    assert not is_domain({"choice": [1], "other": 2})


def test_a_domain_inside_a_choice_exists_only_where_it_is_chosen() -> None:
    tree: Any = {"decoder": {"choice": [{"kind": "small"}, {"kind": "big", "width": {"int": [64, 256]}}]}, "depth": 3}
    asked: list[str] = []

    def choose(index: int) -> Any:
        def suggest(path: str, domain: Choice | Range) -> Any:
            asked.append(path)
            return domain.values[index] if isinstance(domain, Choice) else 128

        return resolve(tree, suggest)

    assert choose(0) == {"decoder": {"kind": "small"}, "depth": 3}
    assert asked == ["decoder"]
    assert choose(1) == {"decoder": {"kind": "big", "width": 128}, "depth": 3}
    assert asked[1:] == ["decoder", "decoder[1].width"]


def test_sizes_count_different_configurations() -> None:
    choice = parse({"choice": [{"a": {"int": [1, 3]}}, "b"]})
    assert choice.size == 4
    assert parse({"int": [2, 5]}).size == 4


def test_samples_touch_every_end_of_every_domain() -> None:
    options: dict[str, Any] = {"lr": {"loguniform": [1e-4, 1e-2]}, "beta": {"choice": [0.9, 0.99]}, "n": 1}
    samples = list(sampled_options(options))
    assert {sample["lr"] for sample in samples} == {1e-4, 1e-2}
    assert {sample["beta"] for sample in samples} == {0.9, 0.99}
    assert all(sample["n"] == 1 for sample in samples)
    assert [path for path, _ in domains_in(options)] == [("lr",), ("beta",)]
