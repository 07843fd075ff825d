"""What the datasets are like, as far as trials and their matrices tell: no image is read for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segsweep.orchestrator.report.contents import Plot, Section, Table, Text
from segsweep.orchestrator.report.data import ReportData, Trial
from segsweep.orchestrator.report.figures import PALETTE, ROW, axis, layout, literal, rounded
from segsweep.trainables.scoring.confusions import Confusions

MOST = 40  # classes that are drawn: the most frequent ones


def section(data: ReportData) -> Section:
    rows = [_row(data, dataset) for dataset in data.datasets]
    headers = ("dataset", "type", "train", "validation", "test", "classes", "fed at (h x w)", "fingerprint", "of test")
    note = (
        "Images of each split. Equal fingerprints are of equal images and labels: one of train and validation, one of "
        "the test split, where trials confirm. Class shares are those of the labelled validation pixels, and of the "
        "images that show a class; `segsweep data stats FILE` reads all splits and says more."
    )
    plots = [_plot(dataset, found) for dataset in data.datasets if (found := _confusions(data, dataset))]
    return Section("datasets", "Datasets", [Text(note, "note"), Table(headers, tuple(rows), names=2), *plots])


def _confusions(data: ReportData, dataset: str) -> Confusions | None:
    """Of any model: the truth is the same."""
    return next((found for cell, found in data.confusions.items() if cell.dataset == dataset), None)


def _row(data: ReportData, dataset: str) -> tuple[str, ...]:
    trials = [trial for trial in data.trials if trial.cell.dataset == dataset]
    found, config = _confusions(data, dataset), trials[0].config
    images = [_fact(trials, f"{split}_images") for split in ("train", "val", "test")]
    sizes = sorted({f"{height} x {width}" for height, width in (trial.config.image_size for trial in trials)})
    classes = str(len(found.classes)) if found else "-"
    prints = [_fact(trials, name) for name in ("data_fingerprint", "test_fingerprint")]
    return (dataset, config.dataset.type, *images, classes, ", ".join(sizes), *prints)


def _fact(trials: Sequence[Trial], name: str) -> str:
    value = next((trial.facts[name] for trial in trials if name in trial.facts), "-")
    return f"{value:,.0f}" if isinstance(value, float) else str(value)


def _plot(dataset: str, found: Confusions) -> Plot:
    size = len(found.classes)
    shown = np.zeros(size)
    for index in range(len(found.ids)):
        shown += found.matrix(index).sum(1) > 0
    pixels = found.total().sum(1)
    order = np.argsort(-pixels, kind="stable")[:MOST].tolist()
    names = [literal(found.classes[index]) for index in order]
    columns = {
        "of the labelled pixels": 100 * pixels / max(pixels.sum(), 1),
        "of the images, those that show it": 100 * shown / max(len(found.ids), 1),
    }
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "x": rounded([float(shares[index]) for index in order]),
            "y": names,
            "marker": {"color": color},
            "hovertemplate": "%{y}: %{x:.3g} %<extra>%{fullData.name}</extra>",
        }
        for color, (name, shares) in zip(PALETTE, columns.items(), strict=False)
    ]
    y = axis("", autorange="reversed", type="category", tickmode="linear")
    look = layout(axis("share (%)", range=[0, 100]), y, height=120 + ROW * len(order), barmode="group")
    return Plot(f"dataset-{dataset}", f"{dataset}: classes of the validation split", traces, look)
