"""A YAML file as plain data that remembers the line of every key (YAML 1.2: `1e-4` is a number, `on` a string)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import JsonValue

from segsweep.orchestrator.errors import InputError, Mistake

KeyPath: TypeAlias = tuple[str | int, ...]


def dotted(path: KeyPath) -> str:
    """("models", 1, "encoder") -> "models[1].encoder" """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True)
class Source:
    """What the user wrote, and where."""

    name: str  # the file as the user named it
    text: str
    data: dict[str, JsonValue]
    lines: Mapping[KeyPath, int] = field(repr=False)  # 1-based
    overrides: Mapping[KeyPath, str] = field(default_factory=dict)  # path -> "--set trials=4"

    def place(self, path: KeyPath) -> str:
        """ "cityscapes.yaml:12: models[1].encoder", or the override that wrote the value."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.overrides:
                return f"{self.overrides[path[:length]]}: {dotted(path)}"
            if path[:length] in self.lines:
                return f"{self.name}:{self.lines[path[:length]]}: {dotted(path)}"
        return f"{self.name}: {dotted(path)}" if path else self.name

    def mistake(self, path: KeyPath, message: str) -> Mistake:
        return Mistake(self.place(path), message)


def read(path: Path, assignments: tuple[str, ...] = ()) -> Source:
    """Read a search-space file and apply `--set` assignments. Raises InputError for everything that is no YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(
            Mistake(str(path), f"cannot be read: {reason}. Give the path of a search-space file")
        ) from None
    return _assign(parse(text, str(path)), assignments)


def parse(text: str, name: str) -> Source:
    """Text to data. Raises InputError with the line: syntax, tabs, duplicate keys, an empty file, no mapping."""
    root = _compose(text, name)
    lines: dict[KeyPath, int] = {}
    mistakes: list[Mistake] = []
    data = _construct(root, (), lines, mistakes, name) if root is not None else None
    InputError.raise_if(mistakes)
    if data is None:
        raise InputError(Mistake(name, "is empty. A search space needs at least datasets, models and epochs"))
    if not isinstance(data, dict):
        raise InputError(Mistake(name, "must be a mapping such as `datasets: [streets]`, one key a line"))
    return Source(name, text, data, lines)


def _compose(text: str, name: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        tab = "\t" in text.splitlines()[line - 1] if line <= len(text.splitlines()) else False
        problem = "a tab; YAML allows only spaces for indentation" if tab else str(error.problem or error.context)
        raise InputError(Mistake(f"{name}:{line}", f"is no valid YAML: {problem}")) from None
    except YAMLError as error:
        raise InputError(Mistake(name, f"is no valid YAML: {error}")) from None


def _construct(node: Any, path: KeyPath, lines: dict[KeyPath, int], mistakes: list[Mistake], name: str) -> JsonValue:
    lines.setdefault(path, node.start_mark.line + 1)
    if node.id == "scalar":
        return _scalar(node.tag.rpartition(":")[2], node.value)
    if node.id == "sequence":
        return [_construct(child, (*path, i), lines, mistakes, name) for i, child in enumerate(node.value)]
    mapping: dict[str, JsonValue] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        line = key_node.start_mark.line + 1
        if key in mapping:
            first = lines[(*path, key)]
            mistakes.append(Mistake(f"{name}:{line}: {dotted((*path, key))}", f"is given twice, first in line {first}"))
            continue
        lines[(*path, key)] = line
        mapping[key] = _construct(value_node, (*path, key), lines, mistakes, name)
    return mapping


def _scalar(tag: str, value: str) -> JsonValue:
    match tag:
        case "null":
            return None
        case "bool":
            return value.lower() == "true"
        case "int":
            digits = value.replace("_", "")
            return int(digits, 0) if digits.lstrip("+-")[:2].lower() in ("0x", "0o") else int(digits)
        case "float":
            return float(value.replace(".inf", "inf").replace(".nan", "nan").replace("_", ""))
    return value


def _assign(source: Source, assignments: tuple[str, ...]) -> Source:
    data: dict[str, JsonValue] = source.data
    overrides: dict[KeyPath, str] = {}
    mistakes: list[Mistake] = []
    for text in assignments:
        try:
            path, value = _assignment(text)
            data = _with_value(data, path, value, f"--set {text}")
            overrides[path] = f"--set {text}"
        except InputError as error:
            mistakes += error.mistakes
    InputError.raise_if(mistakes)
    return Source(source.name, source.text, data, source.lines, overrides)


def _assignment(text: str) -> tuple[KeyPath, JsonValue]:
    """ "models[0].encoder=resnet18" -> ("models", 0, "encoder"), "resnet18". Raises InputError."""
    place = f"--set {text}"
    key, equals, written = text.partition("=")
    if not equals or not key.strip():
        raise InputError(Mistake(place, "must read KEY=VALUE, e.g. --set epochs=3"))
    try:
        node = _compose(written, place)
    except InputError as error:  # the line within one value says nothing
        raise InputError(*(Mistake(place, m.message) for m in error.mistakes)) from None
    mistakes: list[Mistake] = []
    value = _construct(node, (), {}, mistakes, place) if node is not None else None
    if mistakes:
        raise InputError(Mistake(place, "gives a key twice"))
    return tuple(_path_parts(key.strip())), value


def _path_parts(key: str) -> Iterator[str | int]:
    for part in key.replace("[", ".").replace("]", "").split("."):
        yield int(part) if part.isdigit() else part


def _with_value(tree: Any, path: KeyPath, value: JsonValue, place: str) -> Any:
    """A copy of `tree` with `value` at `path`; mappings on the way are made where they are missing."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(tree, list) and isinstance(key, int):
        if key >= len(tree):
            raise InputError(Mistake(place, f"there is no entry {key}; the list has {len(tree)}, counted from 0"))
        return [_with_value(child, rest, value, place) if i == key else child for i, child in enumerate(tree)]
    if isinstance(tree, list):
        raise InputError(Mistake(place, f"'{key}' is no entry of the list; give its number, as in models[0].encoder"))
    if isinstance(tree, dict) or tree is None:
        return {**(tree or {}), str(key): _with_value((tree or {}).get(str(key)), rest, value, place)}
    raise InputError(Mistake(place, f"there is no key '{key}' in {tree!r}; write it as a mapping in the file first"))
