"""Recipes: how a school of segmentation trains, one YAML file each; the file's name is the name in the search space.

A model's entry names one (`recipe: segformer`) and may say some of it differently. A file holds lists that stand in for
those of the sweep (losses, optimizers, lr_schedules, augmentations) and single values; its head gives the source.
"""

from __future__ import annotations

import itertools
from importlib.resources import files

from segsweep.orchestrator.space.source import Source, parse
from segsweep.trainables.catalog import UnknownComponentError, did_you_mean


def names() -> list[str]:
    return sorted(file.name.removesuffix(".yaml") for file in files(__name__).iterdir() if file.name.endswith(".yaml"))


def read(name: str) -> Source:
    """Raises UnknownComponentError."""
    if name not in names():
        known = names()
        raise UnknownComponentError(f"no recipe '{name}'.{did_you_mean(name, known)} Known: {', '.join(known)}")
    return parse(files(__name__).joinpath(f"{name}.yaml").read_text("utf-8"), f"recipe {name}")


def head(recipe: Source) -> str:
    """What the comment at its beginning says, on one line."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), recipe.text.splitlines())
    return " ".join(line.removeprefix("#").strip() for line in lines)
