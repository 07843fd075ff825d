"""What the pictures of a dataset share: names, colours and files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from segsweep.trainables.components import Color

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
EDGE = "#404040"  # around a colour, so that white can be seen on white


def literal(text: str) -> str:
    """`text` for matplotlib, which would set what is between two dollar signs as a formula."""
    return text.replace("$", r"\$")


def hex_color(color: Color) -> str:
    """`#804080`, which matplotlib paints exactly so."""
    return "#" + bytes(color).hex()


def shortened(text: str, length: int) -> str:
    """At most so many letters; ADE20K's names are lists of synonyms."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip(' ,')}…"


def save(figure: Figure, path: Path) -> None:
    """As PNG. Drawn by Agg without pyplot: no window, and no state that other code of the process would see."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).print_figure(path, dpi=DPI, format="png")
