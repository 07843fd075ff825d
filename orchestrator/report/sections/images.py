"""The images that the winners are worst and best at."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from segsweep.orchestrator.report.contents import Block, Legend, Pictures, Section, Text
from segsweep.orchestrator.report.data import Example, Examples, ReportData
from segsweep.orchestrator.report.figures import NEUTRAL

if TYPE_CHECKING:
    from segsweep.trainables.components import Uint8

COLUMNS = ("image", "truth", "prediction", "errors (red)")
QUALITY = 82  # of JPEG


def section(data: ReportData) -> Section:
    note = (
        "Validation images by the mIoU of each alone, predicted again from the checkpoint of the trial that is named. "
        "Errors are red, pixels without truth grey."
    )
    blocks: list[Block] = [Text(note, "note")]
    for dataset in data.datasets:
        match data.examples.get(dataset, "no trial has finished, or pictures were not asked for"):
            case Examples() as found:
                blocks += _of_dataset(dataset, found)
            case str(why):
                blocks.append(Text(f"{dataset}: no pictures, since {why}."))
    return Section("images", "Worst and best images", blocks)


def _of_dataset(dataset: str, found: Examples) -> Iterator[Block]:
    yield Text(f"{dataset}: {found.model}, trial {found.trial}", "heading")
    rows = [_row("worst", one) for one in found.worst] + [_row("best", one) for one in found.best]
    yield Pictures(COLUMNS, tuple(rows))
    yield Legend(tuple(_entry(found, index) for index in range(len(found.classes))))


def _entry(found: Examples, index: int) -> tuple[str, str, str]:
    if index in found.unpainted:
        return f"{found.classes[index]} (black: not painted)", NEUTRAL, "□"
    red, green, blue = found.colors[index]
    return found.classes[index], f"#{red:02x}{green:02x}{blue:02x}", "■"


def _row(kind: str, one: Example) -> tuple[str, tuple[str, ...]]:
    pictures = (one.image, one.truth, one.prediction, one.errors)
    return f"{kind}: {one.id}, mIoU {one.miou:.3f}", tuple(map(_uri, pictures))


def _uri(picture: Uint8) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
