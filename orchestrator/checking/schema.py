"""The JSON schema of search-space files, made from the spec and the catalogue's Options."""

from __future__ import annotations

from typing import Any

from segsweep.orchestrator.checking import recipes
from segsweep.orchestrator.checking.entries import NOT_SEARCHED
from segsweep.orchestrator.checking.sections import SECTIONS, Section
from segsweep.orchestrator.space.domains import KINDS
from segsweep.orchestrator.space.spec import OF_MODELS, SETTINGS, SweepSpec

DOMAIN: dict[str, Any] = {
    "type": "object",
    "description": "Chosen by the searcher. `first` is the value of the first trial.",
    "properties": {kind: {"type": "array"} for kind in KINDS} | {"first": {}},
    "additionalProperties": False,
    "minProperties": 1,
}


def search_space_schema() -> dict[str, Any]:
    """JSON schema (2020-12). Component lists hold names or flat mappings; every option may be a domain."""
    schema = SweepSpec.model_json_schema()
    definitions = {name: part for name, part in schema.get("$defs", {}).items() if name != "ComponentSpec"}
    definitions["Domain"] = DOMAIN
    for name, section in SECTIONS.items():
        entries = {"anyOf": [_entry(name, section, type_, definitions) for type_ in section.catalog.names()]}
        names = {"enum": section.catalog.names()}
        definitions[f"{name}.entry"] = {"anyOf": [names, *entries["anyOf"]]}
        schema["properties"][name] = _entries(name) if section.many else {"$ref": f"#/$defs/{name}.entry"}
    schema["properties"] |= _settings(*SETTINGS, "image_size")
    schema["required"] = ["datasets", "models", "epochs", "image_size"]
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "segsweep search space"
    schema["$defs"] = definitions
    return schema


def _settings(*names: str) -> dict[str, Any]:
    """Plain values, or domains instead of them."""
    properties = SweepSpec.model_json_schema()["properties"]
    return {name: {"anyOf": [*map(_or_domain, properties[name]["anyOf"])]} for name in names}


def _or_domain(branch: dict[str, Any]) -> dict[str, Any]:
    return {"$ref": "#/$defs/Domain"} if branch["type"] == "object" else branch


def _entries(section_name: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/$defs/{section_name}.entry"}, "minItems": 1}


def _entry(section_name: str, section: Section, type_: str, definitions: dict[str, Any]) -> dict[str, Any]:
    component = section.catalog.get(type_)
    options = component.Options.model_json_schema(ref_template="#/$defs/{model}")
    inner = options.pop("$defs", {})
    properties = options.get("properties", {})
    if section_name not in NOT_SEARCHED:
        properties = {name: _searchable(part) for name, part in properties.items()}
        for part in inner.values():
            part.get("properties", {}).update(
                {name: _searchable(option) for name, option in part.get("properties", {}).items()}
            )
    definitions.update(inner)
    common: dict[str, Any] = {section.key: {"const": type_}}
    if section.many:
        common["name"] = {"type": "string"}
    if section_name == "datasets":
        common |= _settings("image_size")
    if section_name == "models":
        common["recipe"] = {"enum": recipes.names()}
        common |= {name: _entries(name) for name in OF_MODELS} | _settings(*SETTINGS)
    required = [n for n in options.get("required", []) if n not in getattr(component, "DOMAINS", {}).get("cnn", {})]
    return {
        "type": "object",
        "title": type_,
        "properties": common | properties,
        "required": required if type_ == section.unnamed else [section.key, *required],
        "additionalProperties": False,
    }


def _searchable(part: dict[str, Any]) -> dict[str, Any]:
    """The schema of an option, with a domain allowed instead of it or of any value inside it."""
    return {"anyOf": [_inside(part), {"$ref": "#/$defs/Domain"}]}


def _inside(part: dict[str, Any]) -> dict[str, Any]:
    inside = dict(part)
    if isinstance(part.get("items"), dict):
        inside["items"] = _searchable(part["items"])
    if isinstance(part.get("additionalProperties"), dict):
        inside["additionalProperties"] = _searchable(part["additionalProperties"])
    if "prefixItems" in part:
        inside["prefixItems"] = [_searchable(item) for item in part["prefixItems"]]
    if "anyOf" in part:
        inside["anyOf"] = [_inside(branch) for branch in part["anyOf"]]
    return inside
