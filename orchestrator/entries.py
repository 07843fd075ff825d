"""The entries of `models:`, `losses:` and so on: from flat YAML mappings to ComponentSpecs, every option checked.

An option whose value is a domain is checked at the values that span it, so `lr: {loguniform: [-1, 1]}` fails for the
same reason as `lr: -1`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import JsonValue, ValidationError

from segsweep.orchestrator.domains import Choice, DomainError, domains_in, is_domain, parse
from segsweep.orchestrator.errors import Mistake
from segsweep.orchestrator.explanations import mistakes_of, validate_strictly
from segsweep.orchestrator.source import KeyPath, Source
from segsweep.orchestrator.spec import CROSSING, SECTIONS, ComponentSpec, Section
from segsweep.trainables.catalog import UnknownComponentError
from segsweep.trainables.components import ComponentOptions
from segsweep.trainables.dataset_options import DatasetOptions

NOT_SEARCHED = {
    "datasets": "what is scored must not change within a sweep",
    "searcher": "it chooses for all trials",
    "scheduler": "it compares all trials",
}


class Entries:
    """Reads the entries of one source and collects what is wrong with them."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.mistakes: list[Mistake] = []
        self.positions: dict[str, list[int]] = {}  # section -> where each well-formed entry stood in its list

    def section(self, name: str) -> tuple[ComponentSpec, ...]:
        """The well-formed entries below a key of SECTIONS."""
        section, raw = SECTIONS[name], self.source.data[name]
        if not section.many:
            return tuple(self._entry(section, raw, (name,)))
        if not isinstance(raw, list) or not raw:
            self._wrong((name,), f"must be a list with at least one entry, e.g. [{section.catalog.names()[0]}]")
            return ()
        found = [(i, spec) for i, child in enumerate(raw) for spec in self._entry(section, child, (name, i))]
        self._refuse_equal_names(name, found)
        self.positions[name] = [i for i, _ in found]
        return tuple(spec for _, spec in found)

    def _entry(self, section: Section, raw: JsonValue, path: KeyPath) -> Iterator[ComponentSpec]:
        if isinstance(raw, str):
            raw = {section.key: raw}
        if not isinstance(raw, dict) or not isinstance(raw.get(section.key), str):
            example = f"{{{section.key}: {section.catalog.names()[0]}}}"
            self._wrong(path, f"needs `{section.key}:`, the name of the {section.catalog.noun}, e.g. {example}")
            return
        fields = {"image_size"} if path[0] == "datasets" else set()
        options = {k: v for k, v in raw.items() if k not in {section.key, "name", *fields}}
        type_ = str(raw[section.key])
        try:
            component = section.catalog.get(type_)
        except UnknownComponentError as error:
            self._wrong((*path, section.key), str(error))
            return
        searched = getattr(component, "DOMAINS", {}).get("cnn", {})  # options that may be left to the searcher
        if self._check_options(component.Options, {**searched, **options}, path):
            name = raw.get("name") or default_name(path[0], type_, options, component)
            spec = {"type": type_, "name": name, "options": options, **{f: raw[f] for f in fields & raw.keys()}}
            yield from self._spec(spec, path)

    def _spec(self, spec: Mapping[str, JsonValue], path: KeyPath) -> Iterator[ComponentSpec]:
        try:
            validate_strictly(ComponentSpec, spec)
            yield ComponentSpec.model_validate(spec)
        except ValidationError as error:
            self.mistakes += mistakes_of(error, self.source, path, ComponentSpec)

    def _check_options(self, model: type[ComponentOptions], options: dict[str, JsonValue], path: KeyPath) -> bool:
        before = len(self.mistakes)
        searchable = not (why := NOT_SEARCHED.get(str(path[0])))
        for where, raw in raw_domains(options):
            try:
                parse(raw)
                if why:
                    self._wrong((*path, *where), f"must be one value, not a domain: {why}")
            except DomainError as error:
                self._wrong((*path, *where), str(error))
        if len(self.mistakes) > before:
            return False
        common = ["name"] * (path[0] in CROSSING) + ["image_size"] * (path[0] == "datasets")
        for sample in sampled_options(options):
            try:
                validate_strictly(model, sample)
            except ValidationError as error:
                found = mistakes_of(error, self.source, path, model, known=common, searchable=searchable)
                self.mistakes += [m for m in found if m not in self.mistakes]
        return len(self.mistakes) == before

    def _refuse_equal_names(self, section: str, specs: list[tuple[int, ComponentSpec]]) -> None:
        seen: dict[str, int] = {}
        for i, spec in specs:
            if spec.name in seen:
                self._wrong(
                    (section, i), f"'{spec.name}' is already the name of {section}[{seen[spec.name]}]; add `name:`"
                )
            seen.setdefault(spec.name, i)

    def _wrong(self, path: KeyPath, message: str) -> None:
        self.mistakes.append(self.source.mistake(path, message))


def default_name(section: str | int, type_: str, options: Mapping[str, JsonValue], component: Any) -> str:
    """architecture/encoder for a model, else the type; a domain in the encoder leaves the architecture alone.

    A fold or a subset of a dataset is another dataset on the leaderboard: camvid-fold0of3-by-group.
    """
    if section == "datasets":
        chosen = component.Options(**options)
        return f"{type_}{chosen.part}" if isinstance(chosen, DatasetOptions) else type_
    if section != "models":
        return type_
    plain = next(sampled_options(dict(options)))
    fixed = not isinstance(options.get("encoder"), dict)
    return f"{type_}/{component.encoder(component.Options(**plain))}" if fixed else type_


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
