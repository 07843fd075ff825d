"""The tables of names and colours that lie beside the datasets as JSON."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def table(name: str) -> dict[str, Any]:
    """What NAME.json beside this module holds."""
    read: dict[str, Any] = json.loads(files("segsweep.trainables.datasets").joinpath(f"{name}.json").read_text("utf-8"))
    return read
