"""A picture of how often each class is labelled: a panel for each split, a bar for each class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from segsweep.trainables.components import DatasetCard, Split
from segsweep.trainables.survey.picture_text import EDGE, hex_color, literal, save
from segsweep.trainables.survey.share import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from segsweep.trainables.survey.statistics import SplitStatistics

UNEVEN = 30  # from this ratio of shares on, the bar of the rarest class could hardly be seen without logarithms
PANEL_INCHES = 3.6
BAR_INCHES = 0.24
WRITTEN = 1.55  # times the length of the longest bar
BESIDE = (4, 0)  # points from the end of a bar to what is written there


def draw_distribution(name: str, card: DatasetCard, splits: Mapping[Split, SplitStatistics], path: Path) -> None:
    """Classes from the most frequent one of the first split (train) down, each in its colour. Raises OSError."""
    first = next(iter(splits.values())).pixel_shares
    order = sorted(range(len(card.classes)), key=lambda index: -first[index])
    figure = _figure(name, splits, len(order))
    axes = figure.subplots(1, len(splits), sharex=True, sharey=True, squeeze=False)[0]
    shares = [share for statistics in splits.values() for share in statistics.pixel_shares if share]
    logarithmic = bool(shares) and max(shares) > UNEVEN * min(shares)
    for panel, (split, statistics) in zip(axes, splits.items(), strict=True):
        _draw_bars(panel, statistics, card, order)
        panel.set_title(f"{split}: {statistics.images} images, {percent(statistics.void_share)} void", fontsize=10)
    _scale(axes[0], shares, logarithmic)
    axes[0].set_yticks(range(len(order)), [literal(card.classes[index]) for index in order], fontsize=9)
    axes[0].set_ylim(len(order) - 0.4, -0.6)
    figure.supxlabel(
        f"share of the labelled pixels{', logarithmic' if logarithmic else ''} "
        "(in brackets: share of the images that show the class)",
        fontsize=9,
    )
    save(figure, path)


def _figure(name: str, splits: Mapping[Split, SplitStatistics], bars: int) -> Figure:
    from matplotlib.figure import Figure

    names_inches = 2.2
    figure = Figure((names_inches + PANEL_INCHES * len(splits), 1.3 + BAR_INCHES * bars), layout="constrained")
    figure.suptitle(literal(f"{name}: how often each class is labelled"), fontsize=12)
    return figure


def _draw_bars(panel: Axes, statistics: SplitStatistics, card: DatasetCard, order: list[int]) -> None:
    pixel_shares, image_shares = statistics.pixel_shares, statistics.image_shares
    colors = [hex_color(card.colors[index]) for index in order]
    panel.barh(range(len(order)), [pixel_shares[i] for i in order], color=colors, edgecolor=EDGE, linewidth=0.6)
    for row, index in enumerate(order):
        if share := pixel_shares[index]:
            text = panel.annotate(f"{percent(share)} ({percent(image_shares[index])})", (share, row), BESIDE)
        else:
            text = panel.annotate("absent", (0, row), BESIDE, ("axes fraction", "data"), color="#b00000")
        text.set_anncoords("offset points")
        text.set(va="center", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8)


def _scale(panel: Axes, shares: list[float], logarithmic: bool) -> None:
    """Room at the right end for what is written behind the longest bar; ticks up to 100 % only."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    lowest, highest = min(shares, default=1.0), max(shares, default=1.0)
    if logarithmic:
        panel.set_xscale("log")
        low = lowest / 2
        panel.set_xlim(low, low * (highest / low) ** WRITTEN)
        ticks = [10.0**power for power in range(math.ceil(math.log10(low)), 1)]
        panel.xaxis.set_minor_locator(NullLocator())
    else:
        panel.set_xlim(0, highest * WRITTEN)
        ticks = [tick for tick in MaxNLocator(4).tick_values(0, highest) if tick <= 1]
    panel.set_xticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
