"""Gather, draw, write, and store the page beside the sweep's run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.report.gathering import gather
from segsweep.orchestrator.report.page import as_html, figures, sections
from segsweep.orchestrator.tracking.attachments import attach

logger = logging.getLogger(__name__)


class Made(NamedTuple):
    file: Path
    bytes: int
    plots: int
    run: str  # of MLflow, that has it as well; "" if none has
    problems: tuple[str, ...]  # that kept nobody from making it


def make(folder: Path, output: Path | None = None, *, images: bool = True, mlflow: bool = True) -> Made:
    """folder: the sweep's. Raises InputError if there is nothing to report, or the file cannot be written."""
    data = gather(folder, images=images)
    parts = sections(data)
    page, plots = as_html(data, parts), figures(parts)
    file = output or Path(f"{folder.resolve().name}-report.html")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(
            Mistake(f"--output {file}", f"cannot be written ({error.strerror}); name another file")
        ) from None
    run, problems = _stored(folder, page, plots) if mlflow else ("", ())
    return Made(file, file.stat().st_size, len(plots), run, problems)


def _stored(folder: Path, page: str, plots: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Page and figures as artifacts; the run, or why there is none."""
    texts = {"report/report.html": page, **{f"report/figures/{_file(name)}.json": text for name, text in plots.items()}}
    try:
        return attach(folder, texts), ()
    except Exception as error:  # whatever it is, the page is made
        logger.debug("not stored in MLflow", exc_info=True)
        return "", (f"MLflow did not take the report: {error}",)


def _file(name: str) -> str:
    from segsweep.trainables.places import file_name

    return file_name(name)
