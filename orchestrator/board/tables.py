"""Plain tables, in every format that the command line prints."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from segsweep.orchestrator.table import aligned

Cell: TypeAlias = str | float | int | None


class Table(NamedTuple):
    title: str
    headers: tuple[str, ...]  # of texts first, then of numbers
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2em auto; max-width: 75em; padding: 0 1em; overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25em .8em; border-bottom: 1px solid #8884; text-align: right; }
th:first-child, td:first-child { text-align: left; }
td.best { font-weight: bold; }
p { color: GrayText; }
"""


def text_of(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)


def as_text(tables: Iterable[Table]) -> str:
    return "\n\n".join(map(_text, tables))


def _text(table: Table) -> str:
    numeric = {i for i in range(len(table.headers)) if any(isinstance(row[i], int | float) for row in table.rows)}
    lines = aligned([table.headers, *(tuple(map(text_of, row)) for row in table.rows)], numeric)
    return "\n".join([*([table.title] if table.title else []), *lines, *table.notes])


def as_markdown(tables: Iterable[Table]) -> str:
    return "\n\n".join(
        "\n\n".join([*([f"**{one.title}**"] if one.title else []), _markdown(one), *one.notes]) for one in tables
    )


def _markdown(table: Table) -> str:
    rows = [table.headers, ["---"] * len(table.headers), *(list(map(text_of, row)) for row in table.rows)]
    return "\n".join(map(markdown_row, rows))


def markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def as_csv(tables: Sequence[Table]) -> str:
    """All of them below each other; with their titles in the first column if they have any."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    titled = any(table.title for table in tables)
    for table in tables:
        writer.writerow((["table"] if titled else []) + list(table.headers))
        writer.writerows(([table.title] if titled else []) + list(row) for row in table.rows)
    return out.getvalue().rstrip("\n")


def as_json(tables: Sequence[Table]) -> str:
    return json.dumps(
        [
            {
                "title": table.title,
                "rows": [dict(zip(table.headers, row, strict=True)) for row in table.rows],
                "notes": table.notes,
            }
            for table in tables
        ],
        indent=2,
    )


def as_html(tables: Iterable[Table], title: str = "segsweep", best: str = "*") -> str:
    """One page that needs nothing else. best: what texts begin with that are set bold."""
    body = "\n".join([_html(table, best) for table in tables])
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    return f"<!doctype html>\n<html lang=en>\n{head}\n<style>{STYLE}</style>\n{body}"


def _html(table: Table, best: str) -> str:
    def cell(tag: str, value: Cell) -> str:
        text = text_of(value)
        mark = " class=best" if text.startswith(best) else ""
        return f"<{tag}{mark}>{html.escape(text)}</{tag}>"

    rows = ["".join(cell("th", header) for header in table.headers)]
    rows += ["".join(cell("td", value) for value in row) for row in table.rows]
    heading = f"<h2>{html.escape(table.title)}</h2>\n" if table.title else ""
    notes = "".join(f"\n<p>{html.escape(note)}</p>" for note in table.notes)
    return heading + "<table>\n" + "\n".join(f"<tr>{row}</tr>" for row in rows) + "\n</table>" + notes


FORMATS = {"table": as_text, "markdown": as_markdown, "csv": as_csv, "json": as_json, "html": as_html}
