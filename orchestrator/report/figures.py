"""How all plots look, in plotly's notation: one palette, names as text, colours of text and grid left to the page."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from segsweep.orchestrator.report.contents import Legend

Axis: TypeAlias = dict[str, Any]
Trace: TypeAlias = dict[str, Any]

# Okabe and Ito 2008, told apart by the colour-blind; without black and yellow, which vanish on dark or white pages
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C")
MARKS = {"circle": "●", "square": "■", "diamond": "◆", "triangle-up": "▲", "cross": "✚", "star": "★", "hexagon": "⬢"}
SYMBOLS = tuple(MARKS)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
NEUTRAL = "#8C8C8C"
SCALE = "Cividis"  # of heat maps: even in lightness, and for the colour-blind
HEIGHT = 380  # px
ROW = 26  # px of a row of a plot with names at its left
LINE = 18  # px more for each further line of a name
LONG, SHORT = 18, 10  # letters of a line, of names at the left and above columns: what a phone has room for


def literal(name: str) -> str:
    """A name as plotly shows it: it reads a little HTML in its texts."""
    return html.escape(name, quote=False)


def broken(name: str, letters: int = LONG) -> str:
    """The same at an axis, on several lines where it is long: broken after its slash, and wherever a line is full."""
    head, slash, tail = name.partition("/")
    parts = [head + slash, tail] if len(name) > letters else [name]
    return "<br>".join(literal(line) for part in parts for line in _lines(part, letters))


def _lines(name: str, letters: int) -> list[str]:
    """Broken after punctuation, into lines of no more letters than that where there is enough of it."""
    lines: list[str] = []
    for piece in re.findall(r"[^-_./ ]*[-_./ ]|[^-_./ ]+", name):
        if lines and len(lines[-1]) + len(piece.rstrip()) <= letters:
            lines[-1] += piece
        else:
            lines.append(piece)
    return lines


def rounded(values: Sequence[float | None]) -> list[float | None]:
    """Short in the page: 5 significant digits; JSON has no infinity."""
    return [None if value is None or not math.isfinite(value) else float(f"{value:.5g}") for value in values]


def style_of(name: str, names: Sequence[str]) -> tuple[str, str, str]:
    """Colour, symbol and dash of one of `names`: no two alike among the first 35, whatever the colours look like."""
    place = names.index(name)
    turn = place // len(PALETTE)
    return PALETTE[place % len(PALETTE)], SYMBOLS[(place + turn) % len(SYMBOLS)], DASHES[turn % len(DASHES)]


def key(names: Sequence[str]) -> Legend:
    """The legend of several plots that show these names."""
    styles = (style_of(name, names) for name in names)
    return Legend(tuple((name, color, MARKS[symbol]) for name, (color, symbol, _) in zip(names, styles, strict=True)))


def axis(title: str, **more: Any) -> Axis:
    return {"title": {"text": literal(title), "standoff": 8}, "automargin": True, "zeroline": False, **more}


def log_axis(title: str) -> Axis:
    return axis(title, type="log", exponentformat="power", dtick=1)


def layout(x: Axis, y: Axis, *, height: int = HEIGHT, legend: bool = True, **more: Any) -> dict[str, Any]:
    return {
        "xaxis": x,
        "yaxis": y,
        "height": height,
        "showlegend": legend,
        "legend": {"orientation": "h", "traceorder": "normal", "yanchor": "bottom", "y": 1.02, "x": 0},
        "margin": {"l": 8, "r": 16, "t": 16, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "hovermode": "closest",
        "dragmode": False,  # a finger that scrolls the page does not zoom
        **more,
    }


def tall(names: Sequence[str]) -> int:
    """Height of a plot with these names at its left, as plotly shows them: no two overprint each other."""
    return 90 + len(names) * (ROW + LINE * max((name.count("<br>") for name in names), default=0))  # rows are alike
