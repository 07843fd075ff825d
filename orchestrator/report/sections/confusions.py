"""What is taken for what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segsweep.orchestrator.report.contents import Block, Plot, Section, Table, Text
from segsweep.orchestrator.report.data import ReportData, Trial
from segsweep.orchestrator.report.figures import SCALE, axis, layout, literal
from segsweep.trainables.plurals import counted
from segsweep.trainables.scoring.confusions import Confusions, Matrix

MOST = 40  # classes of a matrix that is drawn
LABELLED = 12  # classes up to which its cells have numbers
WORST = 5  # confusions named of a model


class Confused(NamedTuple):
    """Pixels of `truth` that were taken for `taken_for`."""

    share: float  # of the pixels of `truth`
    truth: str
    taken_for: str


def section(data: ReportData) -> Section:
    blocks: list[Block] = []
    for dataset in data.datasets:
        winners = data.winners(dataset)
        found = data.confusions.get(winners[0].cell) if winners else None
        if found is None:
            why = (
                f"the matrices are not here (confusions.npz of trial {winners[0].id})"
                if winners
                else "no trial has finished"
            )
            blocks.append(Text(f"{dataset}: {why}."))
        elif len(found.classes) < 2:
            blocks.append(Text(f"{dataset}: there is one class only, so nothing can be taken for another."))
        else:
            blocks += _of_dataset(data, dataset, found)
    note = (
        "Each row is a true class, and how its pixels were labelled, in per cent of them: the diagonal is recall. Over "
        "all validation images, at the best epoch of the trials that are named: the same as for the classes."
    )
    return Section("confusions", "Confusions", [Text(note, "note"), *blocks])


def _of_dataset(data: ReportData, dataset: str, found: Confusions) -> Iterator[Block]:
    winner = data.winners(dataset)[0]
    total = found.total()
    if len(found.classes) <= MOST:
        yield _plot(dataset, winner, found.classes, total)
    else:
        yield Text(
            f"{dataset}: {counted(len(found.classes), 'class')} are too many to draw; the worst are named below."
        )
    rows = []
    for trial in data.winners(dataset):
        if one := data.confusions.get(trial.cell):
            told = [f"{100 * c.share:.0f} % of {c.truth} as {c.taken_for}" for c in worst(one.classes, one.total())]
            rows.append((trial.cell.model, f"#{trial.id}", "; ".join(told) or "none"))
    yield Table((f"{dataset}: model", "trial", "its worst confusions"), tuple(rows), names=3)


def shares(total: Matrix) -> npt.NDArray[np.float64]:
    """(C, C) of the pixels of each true class; NaN in rows of classes that do not occur."""
    pixels = total.sum(1, keepdims=True)
    return np.asarray(np.divide(total, pixels, out=np.full(total.shape, np.nan), where=pixels > 0))


def worst(classes: tuple[str, ...], total: Matrix) -> list[Confused]:
    """The largest shares off the diagonal, those of half a per cent and more."""
    found = shares(total)
    np.fill_diagonal(found, np.nan)
    pairs = [Confused(float(found[i, j]), classes[i], classes[j]) for i, j in np.argwhere(found >= 0.005)]
    return sorted(pairs, reverse=True)[:WORST]


def _plot(dataset: str, winner: Trial, classes: tuple[str, ...], total: Matrix) -> Plot:
    percent = 100 * shares(total)
    names = [literal(name) for name in classes]
    cells = [[None if np.isnan(value) else round(float(value), 1) for value in row] for row in percent]
    labels = {"texttemplate": "%{z:.0f}"} if len(classes) <= LABELLED else {}
    trace = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": cells,
        "zmin": 0,
        "zmax": 100,
        "colorscale": SCALE,
        "colorbar": {"title": {"text": "%"}, "thickness": 12},
        "xgap": 1,
        "ygap": 1,
        "hovertemplate": "%{z} % of %{y} labelled as %{x}<extra></extra>",
        "hoverongaps": False,
        **labels,
    }
    x = axis("labelled as", type="category", tickmode="linear", tickangle=-60)
    y = axis("true class", type="category", tickmode="linear", autorange="reversed")
    height = 190 + 28 * len(classes) if len(classes) < 20 else 190 + 20 * len(classes)
    return Plot(
        f"confusions-{dataset}",
        f"{dataset}: {winner.cell.model}, trial {winner.id}",
        [trace],
        layout(x, y, height=height, legend=False),
    )
