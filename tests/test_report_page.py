"""The report in a real browser: it fetches nothing, complains of nothing, and draws every plot at any width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_sweeps import simulated, trained

from segsweep.orchestrator.report.making import make

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # MLflow's, SQLite's
]

DRAWN = "document.querySelectorAll('.drawing > .plot-container').length"
HIDDEN = "[...document.querySelectorAll('.drawing')].filter(d => d.querySelector('.main-svg').clientWidth < 200).length"
WIDTHS = "[...document.querySelectorAll('.drawing .main-svg:first-child')].map(svg => svg.clientWidth)"
WIDTH = "document.documentElement.scrollWidth"
INK = "getComputedStyle(document.querySelector('.drawing .ytick text')).fill"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> dict[str, tuple[Path, int]]:
    """Pages, and how many plots each has."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "hostile").mkdir()
    sweeps = {"real": trained(folder, empty_store), "hostile": simulated(folder / "hostile")}
    made = {name: make(sweep, folder / f"{name}.html", mlflow=False) for name, sweep in sweeps.items()}
    return {name: (one.file, one.plots) for name, one in made.items()}


@pytest.mark.parametrize("name", ["real", "hostile"])
@pytest.mark.parametrize(("width", "scheme", "ink"), [(1200, "light", "29, 35, 41"), (390, "dark", "230, 234, 238")])
def test_every_plot_is_drawn_without_network_or_complaint(
    browser: Any, files: dict[str, tuple[Path, int]], name: str, width: int, scheme: str, ink: str
) -> None:
    file, plots = files[name]
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_function(f"{DRAWN} == {plots}", timeout=60_000)
    page.emulate_media(media="print")
    page.emulate_media(media="screen")
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert page.evaluate(HIDDEN) == 0
    assert page.evaluate(WIDTH) == width  # nothing sticks out
    assert page.evaluate(INK) == f"rgb({ink})"
    page.close()


def test_plots_are_as_wide_as_paper_while_the_page_is_printed(browser: Any, files: dict[str, tuple[Path, int]]) -> None:
    """They have to be at once: no browser waits between the event and the page that it prints."""
    file, plots = files["real"]
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(file.as_uri())
    page.wait_for_function(f"{DRAWN} == {plots}", timeout=60_000)
    on_screen = page.evaluate(WIDTHS)
    printed = page.evaluate(f"dispatchEvent(new Event('beforeprint')), [...{WIDTHS}, document.body.clientWidth]")
    *drawn, paper = printed
    assert paper == pytest.approx(240 / 25.4 * 96, abs=1)
    assert max(drawn) == paper < max(on_screen)
    assert min(drawn) > 0.4 * paper  # two beside each other
    assert page.evaluate(f"dispatchEvent(new Event('afterprint')), {WIDTHS}") == on_screen
    page.close()
