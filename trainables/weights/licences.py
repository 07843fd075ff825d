"""What is known of the licences of published weights. Which use they allow is for the user to judge."""

from __future__ import annotations

import re
from importlib.metadata import distribution, packages_distributions

UNKNOWN = "unknown"
NVIDIA = "NVIDIA Source Code License: non-commercial use only"
KNOWN = (
    (r"nvidia/(mit-|segformer).*|smp-hub/mit_b.*", NVIDIA),
    (r"facebook/dinov3-.*|.*eomt-dinov3-.*", "DINOv3 License"),
    (r"facebook/(maskformer|mask2former)-.*", "CC-BY-NC-4.0"),
)
"""Repositories of the hub, by the beginning of their names, whose own pages say no more than `other`."""


def of_repository(name: str, stated: str) -> str:
    """stated: by the repository's own files, or by the library."""
    known = next((licence for pattern, licence in KNOWN if re.fullmatch(pattern, name)), "")
    return known or stated or UNKNOWN


def of_package(module: str) -> str:
    """What an installed Python package says: its metadata, or else the first line of its licence file."""
    names = packages_distributions().get(module, [])
    for found in map(distribution, names[:1]):
        stated = dict(found.metadata.items())  # type: ignore[attr-defined]
        licence = str(stated.get("License-Expression") or stated.get("License") or "UNKNOWN")
        if licence != "UNKNOWN":
            return licence.partition("\n")[0]
        for file in found.files or ():
            if file.name.upper().startswith(("LICENSE", "LICENCE")):
                return file.read_text().strip().partition("\n")[0]
    return UNKNOWN
