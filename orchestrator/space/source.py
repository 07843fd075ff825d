"""A YAML file as plain data that remembers the line of every key (YAML 1.2: `1e-4` is a number, `on` a string)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import JsonValue

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.passwords import without_password

KeyPath: TypeAlias = tuple[str | int, ...]

DEEPEST = 32  # levels of lists and mappings; a search space needs 5
MOST_VALUES = 100_000  # ten lines of aliases to aliases can stand for millions
LONGEST_INT = 30  # digits
SHOWN = 40  # characters of a value that a message repeats

_TOO_DEEP = f"is nested more than {DEEPEST} levels deep"


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
    """Text to data. Raises InputError with the line: whatever is no YAML 1.2, duplicate keys, no mapping."""
    _refuse_old_yaml(text, name)
    tree = _Tree(name)
    root = _compose(text, name)
    data = tree.value(root, ()) if root is not None else None
    InputError.raise_if(tree.mistakes)
    if data is None:
        raise InputError(Mistake(name, "is empty. A search space needs at least datasets, models and epochs"))
    if not isinstance(data, dict):
        raise InputError(Mistake(name, "must be a mapping such as `datasets: [streets]`, one key a line"))
    return Source(name, text, data, tree.lines)


def _refuse_old_yaml(text: str, name: str) -> None:
    """YAML 1.1 reads `on` as true, 010 as 8 and 1:30 as 90: nobody should have to know which one a file means."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("%YAML") and line.split()[1:2] != ["1.2"]:
            raise InputError(Mistake(f"{name}:{number}", f"'{line.strip()}' is not read, only YAML 1.2; drop the line"))
        if line and not line.startswith(("%", "#", "\ufeff")):
            return


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
    except RecursionError:
        raise InputError(Mistake(f"{name}:{_too_deep_line(text)}", _TOO_DEEP)) from None
    except YAMLError as error:
        raise InputError(Mistake(name, f"is no valid YAML: {error}")) from None


def _too_deep_line(text: str) -> int:
    """Where the text gets deeper than DEEPEST levels. Events, unlike nodes, are read without recursion."""
    from ruamel.yaml import YAML
    from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

    depth, line = 0, 1
    for event in YAML(typ="safe", pure=True).parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        line = event.start_mark.line + 1
        if depth > DEEPEST:
            break
    return line


class _Tree:
    """Plain values out of YAML nodes, the line of each, and all that is wrong with them."""

    def __init__(self, name: str) -> None:
        """name: the file's, for mistakes."""
        self.lines: dict[KeyPath, int] = {}
        self.mistakes: list[Mistake] = []
        self._name = name
        self._open: list[Any] = []  # the nodes from the root to the present one

    def value(self, node: Any, path: KeyPath) -> JsonValue:
        """What the node says; None, and a mistake, where that is nothing a search space can hold.

        Raises InputError if there is no end to it.
        """
        self.lines.setdefault(path, node.start_mark.line + 1)
        if len(self.lines) > MOST_VALUES:
            raise InputError(Mistake(self._name, f"holds more than {MOST_VALUES} values, repeated ones (*) counted"))
        if node.id == "scalar":
            return self._scalar(node, path)
        if any(node is above for above in self._open):
            self._wrong(node, path, "holds itself: an alias (*) cannot stand within what it repeats")
            return None
        if len(self._open) == DEEPEST:
            self._wrong(node, path, _TOO_DEEP)
            return None
        self._open.append(node)
        try:
            if node.id == "sequence":
                return [self.value(child, (*path, i)) for i, child in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._open.pop()

    def _mapping(self, node: Any, path: KeyPath) -> JsonValue:
        mapping: dict[str, JsonValue] = {}
        for key_node, value_node in node.value:
            if key_node.id != "scalar":
                self._wrong(key_node, path, "a key must be plain text, no list and no mapping")
                continue
            key = str(key_node.value)
            if key in mapping:
                self._wrong(key_node, (*path, key), f"is given twice, first in line {self.lines[(*path, key)]}")
                continue
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            mapping[key] = self.value(value_node, (*path, key))
        return mapping

    def _scalar(self, node: Any, path: KeyPath) -> JsonValue:
        try:
            return _scalar(node.tag.rpartition(":")[2], node.value)
        except ValueError as error:
            shown = node.value if len(node.value) <= SHOWN else node.value[: SHOWN - 3] + "..."
            self._wrong(node, path, f"'{shown}' {error}")
            return None

    def _wrong(self, node: Any, path: KeyPath, message: str) -> None:
        line = f"{self._name}:{node.start_mark.line + 1}"
        self.mistakes.append(Mistake(f"{line}: {dotted(path)}" if path else line, message))


def _scalar(tag: str, value: str) -> JsonValue:
    """Raises ValueError if the text is not what its tag says (`!!int foo`)."""
    match tag:
        case "null":
            return None
        case "bool":
            if value.lower() not in ("true", "false"):
                raise ValueError("is neither true nor false")
            return value.lower() == "true"
        case "int":
            return _whole_number(value)
        case "float":
            try:
                return float(value.replace(".inf", "inf").replace(".nan", "nan").replace("_", ""))
            except ValueError:
                raise ValueError("is no number") from None
    return value


def _whole_number(value: str) -> int:
    digits = value.replace("_", "")
    if len(digits) > LONGEST_INT:  # Python refuses to print some that it reads, and JSON cannot be trusted with any
        raise ValueError("is too large a number")
    try:
        return int(digits, 0) if digits.lstrip("+-")[:2].lower() in ("0x", "0o") else int(digits)
    except ValueError:
        raise ValueError("is no whole number") from None


def _assign(source: Source, assignments: tuple[str, ...]) -> Source:
    data: dict[str, JsonValue] = source.data
    overrides: dict[KeyPath, str] = {}
    mistakes: list[Mistake] = []
    for text in assignments:
        try:
            path, value = _assignment(text)
            data = _with_value(data, path, value, _place(text))
            overrides[path] = _place(text)
        except InputError as error:
            mistakes += error.mistakes
    InputError.raise_if(mistakes)
    return Source(source.name, source.text, data, source.lines, overrides)


def assigned(assignments: tuple[str, ...]) -> Source:
    """What `--set` assignments alone make, each value at its own place. Raises InputError."""
    return _assign(Source("--set", "", {}, {}), assignments)


def _place(assignment: str) -> str:
    return f"--set {without_password(assignment)}"


def _assignment(text: str) -> tuple[KeyPath, JsonValue]:
    """ "models[0].encoder=resnet18" -> ("models", 0, "encoder"), "resnet18". Raises InputError."""
    place = _place(text)
    key, equals, written = text.partition("=")
    if not equals or not key.strip():
        raise InputError(Mistake(place, "must read KEY=VALUE, e.g. --set epochs=3"))
    path = tuple(_path_parts(key.strip()))
    if len(path) > DEEPEST:
        raise InputError(Mistake(place, _TOO_DEEP))
    return path, value_of(written, place)


def value_of(text: str, place: str) -> JsonValue:
    """One value in YAML's notation. Raises InputError at `place`."""
    try:
        node = _compose(text, place)
    except InputError as error:  # the line within one value says nothing
        raise InputError(*(Mistake(place, m.message) for m in error.mistakes)) from None
    tree = _Tree(place)
    value = tree.value(node, ()) if node is not None else None
    InputError.raise_if(Mistake(place, m.message) for m in tree.mistakes)
    return value


def _path_parts(key: str) -> Iterator[str | int]:
    for part in key.replace("[", ".").replace("]", "").split("."):
        yield int(part) if part.isdecimal() and len(part) <= LONGEST_INT else part


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
