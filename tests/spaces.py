"""The least that a search space holds, and what is wrong with others."""

from __future__ import annotations

from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.space.source import parse

BASE = """\
datasets: [streets]
models: [unet]
epochs: 9
image_size: [64, 96]
"""


def mistakes(text: str) -> list[str]:
    """What is wrong with the file x.yaml; [] if nothing is."""
    try:
        check(parse(text, "x.yaml"))
    except InputError as error:
        return [str(mistake) for mistake in error.mistakes]
    return []
