"""A leaderboard as a table for people, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from segsweep.orchestrator.board import tables
from segsweep.orchestrator.board.columns import PADDING, Column, columns_of
from segsweep.orchestrator.board.confirmed import Confirmations, Confirmed, Tie
from segsweep.orchestrator.board.external import external_tables
from segsweep.orchestrator.board.rows import Board
from segsweep.orchestrator.board.score import SIZES, Score
from segsweep.orchestrator.board.tables import markdown_row
from segsweep.trainables.metric_names import metric_named

if TYPE_CHECKING:
    from rich.table import Table

NARROWEST = 60


def as_table(board: Board, width: int | None = None, color: bool | None = None) -> str:
    """For a terminal of `width` columns (default: this one). Datasets that do not fit go into a further block."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = max(NARROWEST, width or shutil.get_terminal_size((100, 24)).columns)
    color = sys.stdout.isatty() if color is None else color
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=color, color_system="standard" if color else None)
    model, *columns = columns_of(board)
    first = min(model.width, width // 2)  # a longer name is folded
    for block in _blocks(first, columns, width):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, PADDING - 1, 0, 0))
        table.add_column(model.header, overflow="fold", max_width=first - PADDING)
        for column in block:
            table.add_column(column.header, justify="right", overflow="fold")
        for i, name in enumerate(model.cells):
            bold = [column.bold[i] if column.bold else False for column in block]
            cells = [
                Text(column.cells[i], style="bold green" if b else "") for column, b in zip(block, bold, strict=True)
            ]
            table.add_row(Text(name), *cells)
        console.print(table)
    console.print(legend(board), style="dim")
    if board.confirmed.rows:
        console.print()
        console.print(_confirmed_table(board))
        for line in confirmed_notes(board.confirmed):
            console.print(line, style="dim")
    if board.external:
        console.print()
        console.print(tables.as_text(external_tables(board.external, board.metric)), markup=False, highlight=False)
    for warning in board.warnings:
        console.print(Text(f"warning: {warning}"), style="yellow")
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _blocks(first: int, columns: list[Column], width: int) -> Iterator[list[Column]]:
    block: list[Column] = []
    for column in columns:
        if block and first + sum(c.width for c in [*block, column]) > width:
            yield block
            block = []
        block.append(column)
    yield block


def _confirmed_table(board: Board) -> Table:
    from rich import box
    from rich.table import Table

    headers, *rows = confirmed_cells(board)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, PADDING - 1, 0, 0))
    for number, header in enumerate(headers):
        table.add_column(header, justify="left" if number < 2 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def confirmed_cells(board: Board) -> Iterator[list[str]]:
    """Headers, then a row for every cell that was confirmed."""
    rows = board.confirmed.rows
    metrics = " or ".join(dict.fromkeys(row.metric for row in rows))
    luck = f"{board.metric} by search", "by fresh seeds"
    yield ["dataset", "confirmed", metrics, "95 % interval", "place", "seeds", *luck]
    for row in rows:
        known = row.low is not None and row.high is not None
        interval = f"{row.low:.4f} to {row.high:.4f}" if known else "-"
        values = f"{row.searched:.4f}", f"{row.fresh:.4f}"
        yield [row.dataset, row.model, f"{row.value:.4f}", interval, _place(row), str(row.seeds), *values]


def _place(row: Confirmed) -> str:
    if row.ranks is None:
        return "-"
    first, last = row.ranks[0], row.ranks[-1]
    return str(first) if first == last else f"{first} to {last}"


def confirmed_notes(found: Confirmations) -> Iterator[str]:
    """What the rows mean, as sentences."""
    yield "mean over fresh seeds; intervals are about other seeds and other images; rows that tie share their places"
    for tie in found.ties:
        yield (
            f"{tie.dataset}: {tie.better} and {tie.other} cannot be told apart "
            f"({tie.difference:.4f} +- {tie.half_width:.4f}){_what_would(tie)}"
        )
    if found.luck is not None:
        is_share = metric_named(found.rows[0].metric).better == "max"
        much = f"{100 * found.luck:.1f} points" if is_share else f"{found.luck:.4f}"
        yield f"by search, the confirmed trials look {much} better than by fresh seeds"


def _what_would(tie: Tie) -> str:
    ways = [f"{tie.seeds} seeds each"] * (tie.seeds is not None)
    ways += [f"{tie.images} images"] * (tie.images is not None)
    if not ways:
        from segsweep.orchestrator.statistics.comparisons import MOST_SEEDS

        return f"; more than {MOST_SEEDS} seeds each would be needed"
    return f"; {' or '.join(ways)} would, if that is what they differ by"


def legend(board: Board) -> str:
    """What the numbers are, in one line."""
    kind = "lowest" if board.mode == "min" else "highest"
    counts = "" if len(board.datasets) == 1 else "; then trials/finished/failed"
    unit = metric_named(board.metric).unit
    name = f"{board.metric} ({unit})" if unit else board.metric
    fresh = " (where confirmed, by the mean over fresh seeds)" if board.confirmed.rows else ""
    return f"{name} of the best finished trial at its best epoch, * {kind} of its dataset{fresh}{counts}"


def as_markdown(board: Board) -> str:
    columns = columns_of(board)
    rows = [[c.header for c in columns], ["---", *["---:"] * (len(columns) - 1)]]
    rows += [[c.cells[i] for c in columns] for i in range(len(board.lines))]
    table = "\n".join(map(markdown_row, rows))
    notes = [legend(board).replace("*", chr(92) + "*"), *(f"Warning: {warning}" for warning in board.warnings)]
    if board.confirmed.rows:
        headers, *confirmed = confirmed_cells(board)
        notes += ["\n".join(map(markdown_row, [headers, ["---"] * len(headers), *confirmed]))]
        notes += confirmed_notes(board.confirmed)
    others = [tables.as_markdown(external_tables(board.external, board.metric))] if board.external else []
    return "\n\n".join([table, *notes, *others])


def as_html(board: Board) -> str:
    return tables.as_html(plain_tables(board))


def plain_tables(board: Board) -> list[tables.Table]:
    """The board, what was confirmed of it, and the results of others."""
    columns = columns_of(board)
    rows = tuple(tuple(column.cells[i] for column in columns) for i in range(len(board.lines)))
    warnings = (f"Warning: {warning}" for warning in board.warnings)
    found = [tables.Table("Leaderboard", tuple(c.header for c in columns), rows, (legend(board), *warnings))]
    if board.confirmed.rows:
        headers, *cells = confirmed_cells(board)
        notes = tuple(confirmed_notes(board.confirmed))
        found.append(tables.Table("Confirmed by fresh seeds", tuple(headers), tuple(map(tuple, cells)), notes))
    return [*found, *external_tables(board.external, board.metric)]


def as_csv(board: Board) -> str:
    """A row for every cell, the numbers unrounded. Warnings have no place in it."""
    records = list(_records(board))
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(records[0]) if records else ["model", "dataset"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue().rstrip("\n")


def as_json(board: Board) -> str:
    cells = list(_records(board))
    means = {line.model: line.mean(board.datasets) for line in board.lines}
    found = {"metric": board.metric, "mode": board.mode, "datasets": board.datasets, "means": means, "cells": cells}
    confirmed = [asdict(row) | {"ranks": row.ranks and [row.ranks[0], row.ranks[-1]]} for row in board.confirmed.rows]
    found |= {"confirmed": confirmed, "ties": [asdict(tie) for tie in board.confirmed.ties]}
    return json.dumps({**found, "warnings": board.warnings}, indent=2)


FORMATS: dict[str, Callable[[Board], str]] = {
    "table": as_table,
    "markdown": as_markdown,
    "html": as_html,
    "csv": as_csv,
    "json": as_json,
}


def _records(board: Board) -> Iterator[dict[str, Any]]:
    for line in board.lines:
        for dataset in board.datasets:
            score, confirmed = line.scores.get(dataset, Score(None)), board.confirmed.of(dataset, line.model)
            best = score.best
            yield {
                "model": line.model,
                "dataset": dataset,
                board.metric: score.value,
                "best": score.leads,
                "confirmed": confirmed.value if confirmed else None,
                "confirmed_low": confirmed.low if confirmed else None,
                "confirmed_high": confirmed.high if confirmed else None,
                "confirmed_place": _place(confirmed) if confirmed else None,
                "seeds": confirmed.seeds if confirmed else None,
                "rank": score.rank,
                "trials": score.trials,
                "finished": score.finished,
                "stopped": score.stopped,
                "failed": score.failed,
                "infeasible": score.infeasible,
                "architecture": line.architecture,
                "encoder": line.encoder,
                **{name: score.size(name) for name in SIZES},
                "licence": line.licence or None,
                "gpu_s": score.gpu_s,
                "cpu_s": score.cpu_s,
                "sweep": best.sweep if best else None,
                "sweep_uid": best.sweep_uid if best else None,
                "trial": best.trial_id if best else None,
                "best_epoch": best.best_epoch if best else None,
                "evaluation": best.evaluation if best else None,
                "run_id": best.run_id if best else None,
                "checkpoint": best.checkpoint if best else None,
                "external": False,
                "source": None,
            }
    for row in board.external:
        value = {"model": row.model, "dataset": row.dataset, board.metric: row.value}
        yield {**value, "external": True, "source": row.source}
