"""Some images of every split with their labels over them: are colours, names and places right?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segsweep.trainables.components import SPLITS, VOID, Color, Dataset, DatasetCard, Pair, Sample
from segsweep.trainables.data.resize import resize_pair
from segsweep.trainables.survey.picture_text import EDGE, hex_color, literal, save, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from segsweep.trainables.components import Uint8

IMAGES = 3  # of a split
LONGEST_SIDE = 420  # pixels of an image on the sheet
GAP = 6  # pixels between an image and its overlay
OPACITY = 0.6  # of the colours
STRIPE = 6  # pixels; void is striped in black and white, which is no class's colour
PAIR_INCHES = 7.5
NAME_LETTERS = 28


def draw_overlays(name: str, dataset: Dataset, path: Path) -> None:
    """A row for each split, of images beside their overlays; then all classes. Raises DataError, OSError."""
    from matplotlib.figure import Figure

    rows = {split: spread(samples) for split in SPLITS if (samples := dataset.splits.get(split, ()))}
    columns = max(map(len, rows.values()))
    sheets = {
        split: [side_by_side(sample.read(), dataset.card.colors) for sample in row] for split, row in rows.items()
    }
    heights = [PAIR_INCHES * max(sheet.shape[0] / sheet.shape[1] for sheet in row) + 0.4 for row in sheets.values()]
    width = PAIR_INCHES * columns
    legend_columns = max(1, int(width / (0.6 + 0.085 * min(NAME_LETTERS, max(map(len, dataset.card.classes))))))
    legend_rows = -(-(len(dataset.card.classes) + 1) // legend_columns)
    figure = Figure((width, sum(heights) + 0.9 + 0.24 * legend_rows), layout="constrained")
    figure.suptitle(literal(f"{name}: images and their labels"), fontsize=14)
    axes = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for row, (split, samples) in enumerate(rows.items()):
        for column, panel in enumerate(axes[row]):
            panel.set_axis_off()
            if column < len(samples):
                panel.imshow(sheets[split][column])
                panel.set_title(literal(f"{split}: {samples[column].id}"), fontsize=10)
    _add_legend(figure, dataset.card, legend_columns)
    save(figure, path)


def spread(samples: Sequence[Sample]) -> list[Sample]:
    """The middle one of each of `IMAGES` equal parts of the samples; all of them where there are no more."""
    parts = min(IMAGES, len(samples))
    return [samples[(2 * part + 1) * len(samples) // (2 * parts)] for part in range(parts)]


def side_by_side(pair: Pair, colors: Sequence[Color]) -> Uint8:
    """(h, w, 3): the image, a white gap, and the image under the colours of its labels; void striped."""
    import numpy as np

    height, width = pair.label.shape
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    image, label = resize_pair(pair, (max(1, round(height * scale)), max(1, round(width * scale))))
    gap = np.full((image.shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([image, gap, overlay(Pair(image, label), colors)], axis=1)


def overlay(pair: Pair, colors: Sequence[Color]) -> Uint8:
    """(H, W, 3): the image with the colours of its labels over it."""
    import numpy as np

    y, x = np.indices(pair.label.shape)
    table = np.zeros((256, 3))
    table[: len(colors)] = colors
    painted = table[pair.label]
    painted[(pair.label == VOID) & ((x + y) // STRIPE % 2 == 0)] = 255
    mixed: Uint8 = np.rint((1 - OPACITY) * pair.image + OPACITY * painted).astype(np.uint8)
    return mixed


def _add_legend(figure: Figure, card: DatasetCard, columns: int) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(facecolor=hex_color(color), edgecolor=EDGE, linewidth=0.6) for color in card.colors]
    patches.append(Patch(facecolor="white", edgecolor="black", hatch="//////", linewidth=0.6))
    names = [literal(shortened(name, NAME_LETTERS)) for name in card.classes]
    figure.legend(
        patches,
        [*names, "void"],
        loc="outside lower center",
        ncols=columns,
        fontsize=11,
        frameon=False,
        handlelength=1.8,
        handleheight=1.2,
    )
