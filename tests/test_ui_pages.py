"""`segsweep ui` in a real browser: it asks nobody else, complains of nothing, and follows a sweep until it ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_sweeps import simulated, trained
from test_ui import Site, served, unfinished

from segsweep.orchestrator.record.journal import DriverStopped, Journal

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # MLflow's, SQLite's
]

DRAWN = "document.querySelectorAll('.drawing > .plot-container').length"
WIDTH = "document.documentElement.scrollWidth"
PRINTED = 718  # px of A4 between Chromium's margins
PAPER = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def site(browser: Any, tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("ui")
    trained(folder, empty_store)
    (folder / "scripted").mkdir()
    simulated(folder / "scripted")
    unfinished(folder / "sweeps", folder / "scripted", "dead-1")
    with served(folder, "--no-mlflow") as running:
        yield running


def watched(page: Any, said: list[str], asked: list[str]) -> None:
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))


@pytest.mark.parametrize(
    ("path", "plots"), [("/", 0), ("/?per_class=1", 0), ("/sweeps/real-1", 3), ("/sweeps/dead-1", 3)]
)
@pytest.mark.parametrize(("width", "scheme", "paper"), [(1200, "light", "255, 255, 255"), (390, "dark", "20, 24, 29")])
def test_a_page_fits_any_width_and_asks_only_its_own_server(
    browser: Any, site: Site, path: str, plots: int, width: int, scheme: str, paper: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    watched(page, said, asked)
    page.goto(f"http://127.0.0.1:{site.port}{path}")
    page.wait_for_function(f"{DRAWN} == {plots}", timeout=60_000)
    assert said == []
    assert {url for url in asked if not url.startswith((f"http://127.0.0.1:{site.port}/", "data:"))} == set()
    assert page.evaluate(WIDTH) == width  # nothing sticks out
    assert page.evaluate(PAPER) == f"rgb({paper})"
    page.set_viewport_size({"width": PRINTED, "height": 900})
    page.emulate_media(media="print")
    page.wait_for_timeout(1500)  # plots follow a little later
    assert page.evaluate(WIDTH) == PRINTED
    page.close()


def test_an_open_page_follows_its_sweep_and_stops_at_the_end(browser: Any, site: Site) -> None:
    rest = unfinished(site.folder / "sweeps", site.folder / "scripted", "live-1")
    page = browser.new_page()
    said: list[str] = []
    asked: list[str] = []
    with Journal(site.folder / "sweeps/live-1/journal.jsonl", fsync=False) as journal:
        page.goto(f"http://127.0.0.1:{site.port}/sweeps/live-1")
        page.wait_for_function(f"{DRAWN} == 3", timeout=60_000)
        page.evaluate("window.stayed = true")
        watched(page, said, asked)
        points = "document.querySelector('[data-name=curves-day] .drawing').data.flatMap(trace => trace.x).length"
        before = page.evaluate(points)
        for event in rest:
            journal.append(event)
        page.get_by_text("80 of 80 trials").wait_for(timeout=30_000)
        page.wait_for_function(f"{points} > {before}", timeout=30_000)
        assert page.evaluate("window.stayed")  # the same page, not one loaded anew
        journal.append(DriverStopped(status="done"))
    page.locator(".state.done").wait_for(timeout=30_000)
    page.wait_for_timeout(1000)  # the page of an ended sweep has other parts, and is loaded once more
    asked.clear()
    page.wait_for_timeout(6000)  # longer than between two looks
    assert (said, asked) == ([], [])
    page.close()


def test_the_form_asks_what_the_address_then_says(browser: Any, site: Site) -> None:
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{site.port}/")
    page.get_by_text("Choose").click()
    page.get_by_label("dataset").fill("streets")
    page.get_by_label("gmacs").check()
    page.get_by_role("button", name="Show").click()
    page.get_by_role("columnheader", name="GMACs").wait_for()
    assert "dataset=streets" in page.url
    assert page.get_by_label("gmacs").is_checked()
    page.close()
