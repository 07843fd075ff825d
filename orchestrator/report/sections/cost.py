"""Where the device time went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from segsweep.orchestrator.durations import duration
from segsweep.orchestrator.record.trials import Cell
from segsweep.orchestrator.report.contents import Block, Plot, Section, Table, Text
from segsweep.orchestrator.report.data import ReportData, Trial
from segsweep.orchestrator.report.figures import Trace, axis, layout, literal, rounded, tall

PARTS = {
    "useful": "#0072B2",
    "confirming": "#56B4E9",
    "stopped": "#E69F00",
    "unfinished": "#8C8C8C",
    "failed": "#D55E00",
    "redone": "#CC79A7",
}


def section(data: ReportData) -> Section:
    cells = list(dict.fromkeys(trial.cell for trial in data.trials))
    ledgers = {cell: ledger(trial for trial in data.trials if trial.cell == cell) for cell in cells}
    note = (
        "Busy seconds of the workers times the devices that they held. Useful: trials of the search that finished; "
        "confirming: fresh seeds that finished; stopped: ended early by the scheduler; unfinished: may go on; failed: "
        "crashed or infeasible; redone: epochs that were lost with a worker and trained again."
    )
    unit = " and ".join(sorted({"GPU" if trial.on_gpu else "CPU" for trial in data.trials}))
    blocks: list[Block] = [Text(note, "note"), _plot(ledgers, unit), _table(data, ledgers, unit)]
    return Section("cost", "What it cost", blocks)


def ledger(trials: Iterable[Trial]) -> dict[str, float]:
    """Device seconds by part; they sum to all that the trials took."""
    found = dict.fromkeys(PARTS, 0.0)
    for trial in trials:
        redone = trial.device_s * (trial.redone_s / trial.seconds) if trial.seconds else 0.0
        found["redone"] += redone
        found[_part(trial)] += trial.device_s - redone
    return found


def _part(trial: Trial) -> str:
    match trial.status:
        case "finished":
            return "confirming" if trial.confirms else "useful"
        case "stopped":
            return "stopped"
        case "failed" | "infeasible":
            return "failed"
        case _:
            return "unfinished"


def _shown(ledgers: Mapping[Cell, Mapping[str, float]]) -> list[str]:
    """Parts that some cell has; useful always."""
    return [part for part in PARTS if part == "useful" or any(found[part] for found in ledgers.values())]


def _plot(ledgers: Mapping[Cell, Mapping[str, float]], unit: str) -> Plot:
    names = [f"{literal(cell.dataset)}<br>{literal(cell.model)}" for cell in ledgers]
    traces: list[Trace] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": part,
            "x": rounded([found[part] for found in ledgers.values()]),
            "y": names,
            "marker": {"color": PARTS[part]},
            "hovertemplate": "%{x:.0f} s<extra>%{fullData.name}</extra>",
        }
        for part in _shown(ledgers)
    ]
    x, y = axis(f"{unit} seconds"), axis("", autorange="reversed", type="category", tickmode="linear")
    look = layout(x, y, height=tall(names), barmode="stack")
    return Plot("cost", f"{unit} seconds by cell", traces, look)


def _table(data: ReportData, ledgers: Mapping[Cell, Mapping[str, float]], unit: str) -> Table:
    parts = _shown(ledgers)
    rows = [(cell.dataset, cell.model, *_times(found, parts)) for cell, found in ledgers.items()]
    whole = ledger(data.trials)
    rows.append(("all", "", *_times(whole, parts)))
    return Table(("dataset", "model", *parts, f"{unit} time in all"), tuple(rows), names=2)


def _times(found: Mapping[str, float], parts: Iterable[str]) -> list[str]:
    return [*(duration(found[part]) for part in parts), duration(sum(found.values()))]
