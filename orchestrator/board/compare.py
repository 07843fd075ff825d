"""Two trials side by side: what differs in configuration, curves, classes and images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from segsweep.orchestrator.board.classes import class_ious
from segsweep.orchestrator.board.several import Source
from segsweep.orchestrator.board.tables import Cell, Table
from segsweep.orchestrator.board.trained import Trained
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.tracking.reader import TrialRow

if TYPE_CHECKING:
    from segsweep.trainables.scoring.confusions import Confusions

MOST_IMAGES = 10
FACTS = ("best_epoch", "params_m", "gmacs", "latency_ms", "peak_memory_gib", "gpu_s", "cpu_s")


def compare(index: Source, a: TrialRow, b: TrialRow, metric: str) -> Iterator[Table]:
    """metric: of curves and values. Raises InputError if the trials are of different datasets, or are one."""
    if a.run_id == b.run_id:
        raise InputError(Mistake("RUN", f"{name(a)} is given twice; name two trials"))
    if a.dataset != b.dataset:
        where = f"{name(a)} was trained on {a.dataset}, {name(b)} on {b.dataset}"
        raise InputError(Mistake("RUN", f"{where}: their scores do not compare; name two trials of one dataset"))
    headers = (name(a), name(b))
    yield _configuration(a, b, headers)
    yield _scores(a, b, metric, headers)
    yield _curves(index, a, b, metric, headers)
    yield _classes(index, a, b, headers)
    yield from _images(index, a, b, headers)


def row_of(index: Source, trial: Trained, metric: str) -> TrialRow:
    """What the store says of a trial. Raises InputError if it does not know it."""
    for kind in ("trial", "confirm"):
        for row in index.trials(metric=metric, kind=kind, sweep_uid=trial.sweep_uid or None):
            if row.run_id == trial.run_id or (trial.sweep_uid and row.trial_id == trial.trial_id):
                return row
    remedy = "name a SWEEP, SWEEP:TRIAL or run:ID that is in it (`segsweep sync` sends what is not)"
    raise InputError(Mistake(f"RUN {trial}", f"MLflow ({index.uri}) has no run of it; {remedy}"))


def name(row: TrialRow) -> str:
    return f"{row.sweep}:{row.trial_id}"


def _configuration(a: TrialRow, b: TrialRow, headers: tuple[str, str]) -> Table:
    names = sorted({*a.params, *b.params})
    rows = [(key, a.params.get(key), b.params.get(key)) for key in names if a.params.get(key) != b.params.get(key)]
    return Table("configuration", ("parameter", *headers), tuple(rows), () if rows else ("no parameter differs",))


def _scores(a: TrialRow, b: TrialRow, metric: str, headers: tuple[str, str]) -> Table:
    rows: list[tuple[Cell, ...]] = [("status", a.status, b.status), (metric, a.value, b.value)]
    rows += [("on the test split", a.test, b.test)] * (a.test is not None or b.test is not None)
    rows += [(key, a.metrics.get(key), b.metrics.get(key)) for key in FACTS if key in a.metrics or key in b.metrics]
    unlike = [] if a.evaluation == b.evaluation else [f"scored in different ways: {a.evaluation}; {b.evaluation}"]
    unlike += [] if a.data_fingerprint == b.data_fingerprint else [f"'{a.dataset}' names different data"]
    return Table("scores", ("", *headers), tuple(rows), tuple(f"values do not compare: {why}" for why in unlike))


def _curves(index: Source, a: TrialRow, b: TrialRow, metric: str, headers: tuple[str, str]) -> Table:
    curves = [index.history(row.run_id, metric) for row in (a, b)]
    epochs = sorted({epoch for curve in curves for epoch in curve})
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (str(epoch), *(curve.get(epoch) for curve in curves)) for epoch in epochs
    )
    return Table(f"{metric} by epoch", ("epoch", *headers), rows)


def _classes(index: Source, a: TrialRow, b: TrialRow, headers: tuple[str, str]) -> Table:
    """Those that differ most first."""
    mine, theirs = class_ious(a, index), class_ious(b, index)
    rows = [(key, mine.get(key), theirs.get(key), _minus(mine.get(key), theirs.get(key))) for key in {**mine, **theirs}]
    ordered = sorted(rows, key=lambda row: -abs(row[3] or 0.0))
    return Table("IoU of classes", ("class", *headers, "difference"), tuple(ordered))


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _images(index: Source, a: TrialRow, b: TrialRow, headers: tuple[str, str]) -> Iterator[Table]:
    """The paired test, and the images that differ most; of val, and of test where both were scored on it."""
    for split in ("val", "test"):
        mine, theirs = index.confusions(a, split), index.confusions(b, split)
        if mine is None or theirs is None:
            if split == "val":
                yield Table("images", ("image", *headers), (), ("matrices of single images are missing",))
            continue
        if mine.ids != theirs.ids:
            yield Table(f"{split} images", ("image", *headers), (), ("they were scored on different images",))
            continue
        yield _of_split(split, mine, theirs, headers)


def _of_split(split: str, mine: Confusions, theirs: Confusions, headers: tuple[str, str]) -> Table:
    from segsweep.orchestrator.statistics.comparisons import differences
    from segsweep.orchestrator.statistics.counts import blocks, counted, score
    from segsweep.orchestrator.statistics.intervals import LEVEL

    counts = [counted(one) for one in (mine, theirs)]
    first, second = (score(one.hits, one.unions, "miou").tolist() for one in counts)
    (found,) = differences({"a": counts[:1], "b": counts[1:]}, blocks(mine.groups, len(mine.ids)), "miou").values()
    wide = found.images.half_width(LEVEL)
    told = "more than other images of this kind would change" if abs(found.value) > wide else "no more than chance"
    rows: Sequence[tuple[Cell, ...]] = [
        (id_, x, y, x - y) for id_, x, y in zip(mine.ids, first, second, strict=True) if not math.isnan(x - y)
    ]
    ordered = sorted(rows, key=lambda row: -abs(float(row[3] or 0.0)))[:MOST_IMAGES]
    notes = (
        f"mIoU differs by {found.value:+.4f} +- {wide:.4f} over {len(mine.ids)} images: {told}",
        "by one seed each; what other seeds would change, only `segsweep confirm` tells",
    )
    title = f"{split} images that differ most, by mean IoU of their classes"
    return Table(title, ("image", *headers, "difference"), tuple(ordered), notes)
