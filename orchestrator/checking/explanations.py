"""pydantic's errors in plain words: place, value, what is allowed, remedy."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import to_json

from segsweep.orchestrator.errors import Mistake
from segsweep.orchestrator.space.domains import KINDS
from segsweep.orchestrator.space.source import KeyPath, Source
from segsweep.trainables.catalog import did_you_mean

WORDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "above {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "below {lt:g}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_too_short": "text of at least {min_length} character",
}
"""What would have been right, by pydantic's name of the error, filled in from its context."""

SHOWN = 80  # characters of a value that a message repeats


def validate_strictly(model: type[BaseModel], data: Mapping[str, Any]) -> None:
    """Raise ValidationError unless `data` fit `model` without any conversion: no `true` for 1, no "3" for 3.

    Through JSON, because only there pydantic takes a list for a tuple and still nothing else for anything else.
    """
    model.model_validate_json(to_json(data), strict=True)


def mistakes_of(
    error: ValidationError,
    source: Source,
    path: KeyPath,
    model: type[BaseModel],
    *,
    known: Iterable[str] = (),
    searchable: bool = False,
) -> list[Mistake]:
    """One mistake for each place that pydantic objects to.

    known: keys that are legal at `path` besides the model's own; searchable: a domain may stand there.
    """
    found: dict[KeyPath, list[Any]] = {}
    for item in error.errors():
        if item["type"] == "default_factory_not_called":
            continue  # what it would be made of is wrong, and reported
        where = tuple(part for part in item["loc"] if not _is_union_tag(part))
        found.setdefault(where, []).append(item)
    inner = {where[:length] for where in found for length in range(len(where))}  # blames only what is wrong within
    return [
        source.mistake((*path, *where), _explain(where, items, model, known, searchable))
        for where, items in found.items()
        if where not in inner
    ]


def _is_union_tag(part: str | int) -> bool:
    """pydantic adds the branch of a union to the location: `batch_size.constrained-int`, `.literal['auto']`."""
    return isinstance(part, str) and bool(re.search(r"[\[\]()-]|^(int|float|str|bool|list|dict|tuple)$", part))


def _explain(loc: KeyPath, items: Sequence[Any], model: type[BaseModel], known: Iterable[str], searchable: bool) -> str:
    """items: what pydantic says about one place; several where each branch of a union objects."""
    first = items[0]
    value = first["input"]
    match first["type"]:
        case "extra_forbidden":
            return _unknown_key(str(loc[-1]), [*_model_at(model, loc).model_fields, *(known if len(loc) == 1 else ())])
        case "missing":
            return f"is missing{_example(model, loc)}"
        case "value_error":
            return f"{first['ctx']['error']}, not {shown(value)}"
        case "in_words":  # a component's own, complete
            return str(first["msg"])
    allowed = [word for item in items for word in _allowed(item)]
    if not all(allowed):  # an error that the table does not know
        return f"{first['msg'][:1].lower()}{first['msg'][1:]}, not {shown(value)}"
    remedy = _remedy(value, items, searchable) or _example(model, loc)
    return f"must be {_either(list(dict.fromkeys(allowed)))}, not {shown(value)}{remedy}"


def _allowed(item: Any) -> list[str]:
    """What one branch of a union takes; [""] for an error that has no words yet."""
    if item["type"] == "literal_error":
        return re.findall(r"'[^']*'", item["ctx"]["expected"])
    return [WORDS.get(item["type"], "").format(**item.get("ctx", {}))]


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _unknown_key(key: str, known: Sequence[str]) -> str:
    return f"unknown key.{did_you_mean(key, known)} Known: {', '.join(known) or 'none'}"


def _remedy(value: Any, items: Sequence[Any], searchable: bool) -> str:
    kinds = {item["type"] for item in items}
    if isinstance(value, str):
        return _sentence(did_you_mean(value, [word.strip("'") for item in items for word in _allowed(item)]))
    if isinstance(value, float) and kinds & {"int_type", "int_from_float"} and value.is_integer():
        return f"; write {value:.0f}, and ranges with int or logint"
    if isinstance(value, dict):
        names = [did_you_mean(key, [*KINDS, "first"]) for key in value if key not in (*KINDS, "first")]
        return _sentence(next(filter(None, names), "")) if searchable else ""
    if isinstance(value, list) and searchable and not kinds & {"tuple_type", "list_type", "too_long", "too_short"}:
        return f"; to search among values write {{choice: {shown(value)}}}"
    return ""


def _sentence(hint: str) -> str:
    return f".{hint}" if hint else ""


def _example(model: type[BaseModel], loc: KeyPath) -> str:
    """ "; e.g. `epochs: 30`", from the examples that the model gives."""
    field = _model_at(model, loc).model_fields.get(str(loc[-1]))
    return f"; e.g. `{loc[-1]}: {shown(field.examples[0])}`" if field is not None and field.examples else ""


def _model_at(model: type[BaseModel], loc: KeyPath) -> type[BaseModel]:
    """The model that holds the last part of `loc`; the outermost where that is a plain mapping."""
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        branches = () if field is None else (field.annotation, *typing.get_args(field.annotation))
        plain = [getattr(branch, "__origin__", branch) for branch in branches]  # without what Annotated says
        model = next((b for b in plain if isinstance(b, type) and issubclass(b, BaseModel)), model)
    return model


def shown(value: JsonValue) -> str:
    """A value as a user would write it, on one line and not too long."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False).replace('"', "")
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
