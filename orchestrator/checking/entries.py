"""The entries of `models:`, `losses:` and so on: from flat YAML mappings to ComponentSpecs, every option checked.

An option whose value is a domain is checked at the values that span it, so `lr: {loguniform: [-1, 1]}` fails for the
same reason as `lr: -1`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import JsonValue, ValidationError

from segsweep.orchestrator.checking import recipes
from segsweep.orchestrator.checking.explanations import mistakes_of, validate_strictly
from segsweep.orchestrator.checking.sections import SECTIONS
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.space.domains import DomainError, parse, raw_domains, sampled_options
from segsweep.orchestrator.space.source import KeyPath, Source, dotted
from segsweep.orchestrator.space.spec import CROSSING, OF_MODELS, SETTINGS, ComponentSpec
from segsweep.trainables.catalog import UnknownComponentError
from segsweep.trainables.components import ComponentOptions
from segsweep.trainables.dataset_options import DatasetOptions
from segsweep.trainables.model_options import ModelOptions

FIELDS = {"datasets": ("image_size",), "models": ("recipe", *OF_MODELS, *SETTINGS)}
"""Keys of a section's entries that are no options of the component."""

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
        self.positions: dict[KeyPath, list[int]] = {}  # list -> where each of its well-formed entries stands in it

    def section(self, name: str) -> tuple[ComponentSpec, ...]:
        """The well-formed entries below a key of SECTIONS."""
        raw = self.source.data[name]
        if not SECTIONS[name].many:
            return tuple(self._entry(name, raw, (name,)))
        return self._list(name, raw, (name,))

    def _list(self, name: str, raw: JsonValue, path: KeyPath) -> tuple[ComponentSpec, ...]:
        if not isinstance(raw, list) or not raw:
            example = SECTIONS[name].catalog.names()[0]
            self._wrong(path, f"must be a list with at least one entry, e.g. [{example}]")
            return ()
        found = [(i, spec) for i, child in enumerate(raw) for spec in self._entry(name, child, (*path, i))]
        self._refuse_equal_names(path, found)
        self.positions[path] = [i for i, _ in found]
        return tuple(spec for _, spec in found)

    def _entry(self, name: str, raw: JsonValue, path: KeyPath) -> Iterator[ComponentSpec]:
        section = SECTIONS[name]
        raw = _spelt_out(name, raw)
        if not isinstance(raw, dict) or not isinstance(raw.get(section.key), str):
            example = f"{{{section.key}: {section.catalog.names()[0]}}}"
            self._wrong(path, f"needs `{section.key}:`, the name of the {section.catalog.noun}, e.g. {example}")
            return
        options = {k: v for k, v in raw.items() if k not in {section.key, "name", *FIELDS.get(name, ())}}
        type_ = str(raw[section.key])
        try:
            component = section.catalog.get(type_)
        except UnknownComponentError as error:
            self._wrong((*path, section.key), str(error))
            return
        searched = getattr(component, "DOMAINS", {}).get("cnn", {})  # options that may be left to the searcher
        fields = self._fields_of_model(raw, path) if name == "models" else _given(raw, FIELDS.get(name, ()))
        if self._check_options(name, component.Options, {**searched, **options}, path):
            called = raw.get("name") or default_name(name, type_, options, component)
            yield from self._spec({"type": type_, "name": called, "options": options, **fields}, path)

    def _fields_of_model(self, raw: Mapping[str, JsonValue], path: KeyPath) -> dict[str, Any]:
        """What a model's entry says about its training: its recipe's values, and its own instead of those."""
        own = {key: self._list(key, raw[key], (*path, key)) for key in OF_MODELS if key in raw}
        fields = _given(raw, ("recipe", *SETTINGS))
        try:
            recipe = read_recipe(str(raw["recipe"])) if "recipe" in raw else {}
        except UnknownComponentError as error:
            self._wrong((*path, "recipe"), str(error))
            recipe = {}
        lists = {key: value for key, value in recipe.items() if key in OF_MODELS}
        others = {key: value for key, value in recipe.items() if key not in OF_MODELS}
        return {**others, **fields, "own": {**lists, **own}}

    def _spec(self, spec: Mapping[str, JsonValue], path: KeyPath) -> Iterator[ComponentSpec]:
        try:
            validate_strictly(ComponentSpec, spec)
            yield ComponentSpec.model_validate(spec)
        except ValidationError as error:
            self.mistakes += mistakes_of(error, self.source, path, ComponentSpec)

    def _check_options(
        self, name: str, model: type[ComponentOptions], options: dict[str, JsonValue], path: KeyPath
    ) -> bool:
        before = len(self.mistakes)
        searchable = not (why := NOT_SEARCHED.get(name))
        for where, raw in raw_domains(options):
            try:
                parse(raw)
                if why:
                    self._wrong((*path, *where), f"must be one value, not a domain: {why}")
            except DomainError as error:
                self._wrong((*path, *where), str(error))
        if len(self.mistakes) > before:
            return False
        common = ["name"] * (name in CROSSING) + [*FIELDS.get(name, ())]
        for sample in sampled_options(options):
            try:
                validate_strictly(model, sample)
            except ValidationError as error:
                found = mistakes_of(error, self.source, path, model, known=common, searchable=searchable)
                self.mistakes += [m for m in found if m not in self.mistakes]
        return len(self.mistakes) == before

    def _refuse_equal_names(self, path: KeyPath, specs: list[tuple[int, ComponentSpec]]) -> None:
        seen: dict[str, int] = {}
        for i, spec in specs:
            if spec.name in seen:
                first = dotted((*path, seen[spec.name]))
                self._wrong((*path, i), f"'{spec.name}' is already the name of {first}; add `name:`")
            seen.setdefault(spec.name, i)

    def _wrong(self, path: KeyPath, message: str) -> None:
        self.mistakes.append(self.source.mistake(path, message))


def _given(raw: Mapping[str, JsonValue], keys: Iterable[str]) -> dict[str, JsonValue]:
    return {key: raw[key] for key in keys if key in raw}


def read_recipe(name: str) -> Mapping[str, Any]:
    """What a recipe says: lists of entries by the key of the section, and other keys' values.

    Raises UnknownComponentError, and InputError for a recipe that is wrong itself.
    """
    entries = Entries(recipes.read(name))
    found: dict[str, Any] = {key: entries.section(key) for key in OF_MODELS if key in entries.source.data}
    InputError.raise_if(entries.mistakes)
    return {**entries.source.data, **found}


def _spelt_out(name: str, raw: JsonValue) -> JsonValue:
    """`dice` as {type: dice}, {dice: 0.5, focal: 1} as {type: sum, dice: 0.5, focal: 1}."""
    section = SECTIONS[name]
    if isinstance(raw, str):
        return {section.key: raw}
    if isinstance(raw, dict) and section.unnamed and section.key not in raw and {*section.catalog.names()} & raw.keys():
        return {section.key: section.unnamed, **raw}
    return raw


def default_name(section: str | int, type_: str, options: Mapping[str, JsonValue], component: Any) -> str:
    """architecture/encoder for a model, dice+focal for a sum, else the type; a domain in the encoder leaves it out.

    A model with frozen parts is another one: unet/resnet34-frozen-encoder.
    A fold or a subset of a dataset is another dataset on the leaderboard: camvid-fold0of3-by-group.
    """
    if section == "datasets":
        chosen = component.Options(**options)
        return f"{type_}{chosen.part}" if isinstance(chosen, DatasetOptions) else type_
    if type_ == SECTIONS[str(section)].unnamed:
        return "+".join(options)
    if section != "models":
        return type_
    chosen = component.Options(**next(sampled_options(dict(options))))
    fixed = not isinstance(options.get("encoder"), dict)
    name = f"{type_}/{component.encoder(chosen)}" if fixed else type_
    freeze = chosen.freeze if isinstance(chosen, ModelOptions) else None
    return f"{name}-{freeze.label}" if freeze and not any(raw_domains(options["freeze"])) else name
