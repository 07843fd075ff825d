"""`--where`: which trials a board is about, by their parameters."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.tracking.reader import TrialRow
from segsweep.trainables.catalog import did_you_mean

COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
FORM = re.compile(r"\s*(?P<name>[^<>=!]+?)\s*(?P<how><=|>=|!=|<|>|=)\s*(?P<value>.*?)\s*")


class Condition(NamedTuple):
    """On one parameter, by the name that MLflow shows: lr, loss, model.encoder_depth ..."""

    name: str
    how: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """lr<1e-3, loss=dice, batch_size!=8. Raises InputError."""
        found = FORM.fullmatch(text)
        if found is None:
            raise InputError(Mistake(f"--where {text}", "is no condition; write e.g. 'lr<1e-3', loss=dice or seed!=1"))
        condition = cls(found["name"], found["how"], found["value"])
        if condition.how in COMPARE and _number(condition.value) is None:
            raise InputError(Mistake(f"--where {text}", f"'{condition.value}' is no number; texts compare by = and !="))
        return condition

    def holds(self, params: Mapping[str, str]) -> bool:
        """False where the parameter is missing."""
        if (given := params.get(self.name)) is None:
            return False
        mine, theirs = _number(self.value), _number(given)
        if self.how in COMPARE:
            return mine is not None and theirs is not None and COMPARE[self.how](theirs, mine)
        same = given == self.value if mine is None or theirs is None else mine == theirs
        return same == (self.how == "=")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def chosen(rows: Sequence[TrialRow], conditions: Iterable[Condition]) -> list[TrialRow]:
    """The rows of which all conditions hold. Raises InputError for a parameter that no row has, or if none is left."""
    conditions = list(conditions)
    if not conditions:
        return list(rows)
    names = {name for row in rows for name in row.params}
    InputError.raise_if(
        Mistake(f"--where {one.name}", f"no trial has this parameter.{did_you_mean(one.name, names)}")
        for one in conditions
        if one.name not in names
    )
    found = [row for row in rows if all(one.holds(row.params) for one in conditions)]
    if not found:
        texts = " and ".join("".join(one) for one in conditions)
        raise InputError(Mistake("--where", f"of {len(rows)} trials none has {texts}"))
    return found
