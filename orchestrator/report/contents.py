"""What a section is made of: plain data that the template turns into HTML, which escapes every text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias


@dataclass(frozen=True)
class Text:
    kind: ClassVar[str] = "text"
    text: str
    tone: str = ""  # "": as all; note: smaller; lead: larger; warning


@dataclass(frozen=True)
class Table:
    kind: ClassVar[str] = "table"
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1  # columns from the left that hold names; the others are numbers


@dataclass(frozen=True)
class Code:
    kind: ClassVar[str] = "code"
    text: str
    summary: str = ""  # then it is folded behind these words


@dataclass(frozen=True)
class Plot:
    """A figure in plotly's own notation. Names in it have gone through figures.literal."""

    kind: ClassVar[str] = "plot"
    name: str  # of the file in MLflow; unique on the page
    title: str
    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]

    @property
    def figure(self) -> dict[str, Any]:
        return {"data": list(self.traces), "layout": dict(self.layout)}


@dataclass(frozen=True)
class Grid:
    """Plots beside each other where the page is wide enough."""

    kind: ClassVar[str] = "grid"
    plots: tuple[Plot, ...]


@dataclass(frozen=True)
class Pictures:
    """Rows of pictures, each with its own words."""

    kind: ClassVar[str] = "pictures"
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]  # what is said of it; a data URI for each column


@dataclass(frozen=True)
class Legend:
    kind: ClassVar[str] = "legend"
    entries: tuple[tuple[str, str, str], ...]  # name, "#rrggbb", the mark that has this colour


Block: TypeAlias = Text | Table | Code | Plot | Grid | Pictures | Legend


@dataclass(frozen=True)
class Section:
    id: str  # anchor on the page
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)

    @property
    def plots(self) -> list[Plot]:
        found = [block for block in self.blocks if isinstance(block, Plot)]
        return found + [plot for block in self.blocks if isinstance(block, Grid) for plot in block.plots]
