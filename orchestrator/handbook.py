"""What the catalogues hold, told from the component files themselves: docstrings, options, limits and remarks.

Nothing is written down twice: what a component is stands in its docstring, what an option means in the comment beside
it. So a new file explains itself by existing.
"""

from __future__ import annotations

import ast
import inspect
import io
import json
import textwrap
import tokenize
from collections.abc import Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any, TypedDict, cast

from pydantic import JsonValue

from segsweep.trainables.catalog import Catalog
from segsweep.trainables.components import ComponentOptions

NUMBERS = {"integer": "whole number", "number": "number"}
LIMITS = {"minimum": ">= {:g}", "exclusiveMinimum": "> {:g}", "maximum": "<= {:g}", "exclusiveMaximum": "< {:g}"}

LOOKS_AT_ALL = """\
The loss of a batch is not the mean of its parts' losses: where several processes share a batch (`resources`), each sees
the loss of its share, and the trial says so (`segsweep.loss_of`)."""


class Option(TypedDict):
    name: str
    default: JsonValue
    required: bool
    allowed: str  # in words
    about: str  # the comment beside it in the source, "" if there is none
    searched: dict[str, JsonValue]  # the domain that it gets where it is left out, by model family


class Component(TypedDict):
    name: str
    summary: str  # the docstring's first paragraph, on one line
    about: str  # all of it
    options: list[Option]
    counts: dict[str, float]  # what was counted of it, by what it is called; {} for nothing


def component(catalog: Catalog[Any], name: str) -> Component:
    """Raises UnknownComponentError."""
    module = cast(ModuleType, catalog.get(name))
    about = inspect.getdoc(module) or ""
    if catalog.noun == "loss":
        about += "\n\n" + (inspect.getdoc(getattr(module, "adds_up", None)) or LOOKS_AT_ALL)
    return {
        "name": name,
        "summary": " ".join(about.partition("\n\n")[0].split()),
        "about": about,
        "options": _options(cast(Any, module).Options, getattr(module, "DOMAINS", {})),
        "counts": {},
    }


def as_table(found: list[Component], width: int) -> list[str]:
    """A component a line: its name, its counts, and as much of its summary as fits."""
    names = max((len(each["name"]) for each in found), default=0)
    numbers = [
        ("  ".join(f"{value:8.2f}" for value in each["counts"].values()) + "  " * bool(each["counts"]))
        for each in found
    ]
    heads = "  ".join(f"{name:>8}" for name in found[0]["counts"]) if found else ""
    lines = [f"{each['name']:{names}}  {number}" for each, number in zip(found, numbers, strict=True)]
    lines = [
        line + textwrap.shorten(each["summary"], max(20, width - len(line)), placeholder=" …")
        for each, line in zip(found, lines, strict=True)
    ]
    return [f"{'':{names}}  {heads}", *lines] if heads else lines


def as_page(found: Component, width: int) -> list[str]:
    """A component's docstring and its options, for people."""
    lines = [found["name"], "", *found["about"].splitlines(), ""]
    if found["counts"]:
        lines += [*(f"{name:10}  {value:.2f}" for name, value in found["counts"].items()), ""]
    if not found["options"]:
        return [*lines, "No options."]
    lines.append("Options")
    for option in found["options"]:
        lines += _wrapped(f"{option['name']}  {option['allowed']}; {_default(option)}", 2, width)
        lines += _wrapped(option["about"], 6, width)
        for family, domain in option["searched"].items():
            lines += _wrapped(f"a {family}'s: {json.dumps(domain)}", 6, width)
    return lines


def _default(option: Option) -> str:
    if option["searched"]:
        return "searched where it is left out"
    return "required" if option["required"] else f"default {json.dumps(option['default'])}"


def _wrapped(text: str, indent: int, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=" " * indent, subsequent_indent=" " * 6)


def _options(model: type[ComponentOptions], domains: Mapping[str, Mapping[str, Any]]) -> list[Option]:
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    required = schema.get("required", [])
    remarks = _remarks(model)
    return [
        {
            "name": name,
            "default": part.get("default"),
            "required": name in required,
            "allowed": _allowed(part, definitions),
            "about": remarks.get(name, ""),
            "searched": {family: searched[name] for family, searched in domains.items() if name in searched},
        }
        for name, part in schema.get("properties", {}).items()
    ]


def _allowed(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A JSON schema in a few words: "none | enet | list of number >= 0"."""
    if "$ref" in part:
        return _allowed(definitions[part["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in part or "oneOf" in part:
        branches = part.get("anyOf") or part["oneOf"]
        return " | ".join(dict.fromkeys(_allowed(branch, definitions) for branch in branches))
    if "enum" in part or "const" in part:
        return " | ".join(str(value) for value in part.get("enum", [part.get("const")]))
    match part.get("type"):
        case "integer" | "number" as kind:
            limits = [words.format(part[key]) for key, words in LIMITS.items() if key in part]
            return " ".join([NUMBERS[kind], " and ".join(limits)]).strip()
        case "boolean":
            return "true | false"
        case "string":
            return "text"
        case "null":
            return "null"
        case "array":
            return _allowed_list(part, definitions)
        case "object":
            return _allowed_mapping(part, definitions)
    return "any value"


def _allowed_list(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "prefixItems" in part:
        items = [_allowed(item, definitions) for item in part["prefixItems"]]
        same = f"{len(items)} x {items[0]}" if len(set(items)) == 1 else ", ".join(items)
        return f"list of {same}"
    return f"list of {_allowed(part.get('items', {}), definitions)}"


def _allowed_mapping(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    keys = [f"{key}: {_allowed(value, definitions)}" for key, value in part.get("properties", {}).items()]
    inner = part.get("additionalProperties")
    if isinstance(inner, Mapping):
        keys.append(f"any: {_allowed(inner, definitions)}")
    return f"{{{', '.join(keys)}}}"


def _remarks(model: type[ComponentOptions]) -> dict[str, str]:
    """What the comments beside the options say, those of base classes included."""
    remarks: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, ComponentOptions) and base is not ComponentOptions:
            with suppress(OSError):  # made by create_model, so nothing is written beside its fields
                remarks |= _comments_in(textwrap.dedent(inspect.getsource(base)))
    return remarks


def _comments_in(source: str) -> dict[str, str]:
    """The comment at the end of each annotated assignment, with the lines of comment that follow it."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    lines = source.splitlines()
    found: dict[str, str] = {}
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.end_lineno in comments:
            said, after = [comments[node.end_lineno]], node.end_lineno + 1
            while after in comments and lines[after - 1].lstrip().startswith("#"):
                said.append(comments[after])
                after += 1
            found[node.target.id] = " ".join(said)
    return found
