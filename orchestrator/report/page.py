"""A report as one HTML file: its sections in a template, plotly.js and all data inside, nothing fetched."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TypeAlias

from markupsafe import Markup, escape

from segsweep.orchestrator.report.contents import Section
from segsweep.orchestrator.report.data import ReportData
from segsweep.orchestrator.report.sections import (
    answer,
    classes,
    confirmation,
    confusions,
    cost,
    curves,
    datasets,
    images,
    importance,
    leaderboard,
    pareto,
    reproduction,
    responses,
)

Draw: TypeAlias = Callable[[ReportData], Section]

ORDER: Sequence[Draw] = (
    answer.section,
    leaderboard.section,
    confirmation.section,
    curves.section,
    responses.section,
    importance.section,
    pareto.section,
    classes.section,
    confusions.section,
    images.section,
    cost.section,
    datasets.section,
    reproduction.section,
)


def sections(data: ReportData) -> list[Section]:
    """The most useful first."""
    return [draw(data) for draw in ORDER]


def as_html(data: ReportData, parts: Sequence[Section]) -> str:
    """Every text is escaped; plots are JSON in which no tag can end."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("segsweep.orchestrator.report", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = with_code
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    template = environment.get_template("page.html")
    return template.render(data=data, sections=parts, plotly=plotly_js())


def with_code(text: str) -> Markup:
    """The templates' filter `code`: what stands between backticks, as code; everything escaped."""
    parts = (
        Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(text.split("`"))
    )
    return Markup("").join(parts)


def figures(parts: Sequence[Section]) -> dict[str, str]:
    """Every plot as JSON that plotly.io.read_json reads, by name."""
    return {plot.name: json.dumps(plot.figure) for section in parts for plot in section.plots}


def plotly_js() -> Markup:
    """The library, 4.8 MB, as the installed plotly package has it."""
    from plotly.offline import get_plotlyjs

    return Markup(str(get_plotlyjs()).replace("</script", "<\\/script"))
