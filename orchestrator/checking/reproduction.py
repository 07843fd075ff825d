"""Back to a search-space file: a trial's configuration as one with a single point, or a whole sweep's spec."""

from __future__ import annotations

import io
from typing import Any

from pydantic import JsonValue, ValidationError

from segsweep.orchestrator.checking.entries import default_name
from segsweep.orchestrator.checking.sections import SECTIONS
from segsweep.orchestrator.space.spec import CROSSING, SETTINGS, ComponentSpec, SweepSpec
from segsweep.trainables.catalog import UnknownComponentError
from segsweep.trainables.config import Entry, Evaluation, Objective, TrialConfig

KINDS = {
    "datasets": "dataset",
    "models": "model",
    "losses": "loss",
    "optimizers": "optimizer",
    "lr_schedules": "lr_schedule",
    "augmentations": "augmentation",
}


def single_point(config: TrialConfig) -> dict[str, JsonValue]:
    """The search space's keys and values. Planning it gives `config` again, as trial 001."""
    tree: dict[str, JsonValue] = {section: [_entry(section, getattr(config, KINDS[section]))] for section in CROSSING}
    tree |= {"seeds": [config.seed], "trials": 1, "epochs": config.epochs}
    for name in (*SETTINGS, "steps_per_epoch", "patience"):
        if (value := getattr(config, name)) != TrialConfig.model_fields[name].default:
            tree[name] = value
    tree |= {"image_size": list(config.image_size), "scheduler": "fifo"}
    if config.objective != Objective():
        tree["objective"] = config.objective.model_dump(mode="json")
    if config.evaluation != Evaluation():
        tree["evaluation"] = config.evaluation.model_dump(mode="json", exclude_defaults=True)
    if config.plugins:
        tree["plugins"] = list(config.plugins)
    return tree


def search_space(spec: SweepSpec) -> dict[str, JsonValue]:
    """The keys and values that `check` makes `spec` of; what is as by default is left out."""
    tree: dict[str, JsonValue] = spec.model_dump(mode="json", exclude_defaults=True)
    for section, kind in SECTIONS.items():
        if section in tree:
            found = getattr(spec, section)
            tree[section] = [_spec_entry(section, e) for e in found] if kind.many else _spec_entry(section, found)
    return tree


def _spec_entry(section: str, entry: ComponentSpec) -> JsonValue:
    own: dict[str, JsonValue] = {key: [_spec_entry(key, e) for e in entries] for key, entries in entry.own.items()}
    fields = entry.model_dump(mode="json", exclude_defaults=True, exclude={"type", "name", "options", "own"})
    name = {"name": entry.name} if section in CROSSING else {}
    return {SECTIONS[section].key: entry.type, **name, **entry.options, **fields, **own}


def _entry(section: str, entry: Entry) -> JsonValue:
    key = SECTIONS[section].key
    name = {} if entry.name == _default_name(section, entry) else {"name": entry.name}
    return {key: entry.type, **name, **entry.options} if name or entry.options else entry.type


def _default_name(section: str, entry: Entry) -> str | None:
    """None for a component that is not installed here, or of another version: then the name is spelt out."""
    try:
        component = SECTIONS[section].catalog.get(entry.type)
        return default_name(section, entry.type, entry.options, component)
    except (UnknownComponentError, ImportError, ValidationError):
        return None


def as_yaml(tree: dict[str, JsonValue], comments: list[str]) -> str:
    """One key a line, entries in flow style, below `comments`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    yaml = YAML(typ="rt", pure=True)
    yaml.width = 4096
    yaml.default_flow_style = False
    out = io.StringIO()
    yaml.dump(CommentedMap({key: _flow(value) for key, value in tree.items()}), out)
    return "".join(f"# {comment}\n" for comment in comments) + out.getvalue().rstrip("\n")


def _flow(value: JsonValue) -> Any:
    """Lists of components stay one entry a line; what is inside an entry goes on one line."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(value, list) and any(isinstance(child, dict) for child in value):
        return CommentedSeq([_flow(child) for child in value])
    if isinstance(value, list):
        plain = CommentedSeq(value)
        plain.fa.set_flow_style()
        return plain
    if isinstance(value, dict):
        mapping = CommentedMap(value)
        mapping.fa.set_flow_style()
        return mapping
    return value
