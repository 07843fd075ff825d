"""MLflow's page and Ray's dashboard in a real browser while a sweep runs."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from waiting import answers, wait_until

from segsweep.orchestrator.launching.ray_session import free_port

pytestmark = [pytest.mark.browser, pytest.mark.ray, pytest.mark.timeout(240)]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SPACE = """
datasets: [{type: streets, train: 32, val: 8, test: 8}]
models: [{architecture: linknet, encoder: tu-mobilenetv3_small_050}]
trials: 2
epochs: 500
image_size: [48, 80]
scheduler: fifo
"""


@contextmanager
def process(*command: str, cwd: Path, stop: signal.Signals, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file, subprocess.Popen(command, cwd=cwd, stdout=file, stderr=file) as running:
        try:
            yield running
        finally:
            running.send_signal(stop)
            try:
                running.wait(60)
            except subprocess.TimeoutExpired:
                running.kill()


@pytest.fixture(scope="module")
def running_sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A folder in which a sweep runs, and the port of Ray's dashboard."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    folder, port = tmp_path_factory.mktemp("pages"), free_port()
    (folder / "pages.yaml").write_text(SPACE)
    command = [sys.executable, "-c", "from segsweep.orchestrator.cli import main; main()"]
    launch = [*command, "launch", "pages.yaml", "--dashboard-port", str(port)]
    log = folder / "log.txt"
    with process(*launch, cwd=folder, stop=signal.SIGINT, log=log):
        journal = folder / "sweeps/pages-1/journal.jsonl"
        wait_until(lambda: journal.exists() and '"event":"epoch"' in journal.read_text(), "a first epoch")
        yield folder, port
    assert "segsweep resume pages-1" in log.read_text()


@pytest.fixture
def page() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page()
        browser.close()


def test_plain_mlflow_ui_shows_the_running_sweep(running_sweep: tuple[Path, int], page: Any) -> None:
    folder, _ = running_sweep
    port = free_port()
    mlflow = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    with process(*mlflow, cwd=folder, stop=signal.SIGTERM, log=folder / "mlflow.txt"):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), "MLflow's server")
        page.goto(f"http://127.0.0.1:{port}/#/experiments/1/runs")
        sweep = page.get_by_text("pages-1").first
        sweep.wait_for(timeout=60_000)
        assert sweep.is_visible()


def test_rays_dashboard_opens_with_the_printed_token(running_sweep: tuple[Path, int], page: Any) -> None:
    folder, port = running_sweep
    token_file = folder / "sweeps/pages-1/ray_token"
    assert token_file.stat().st_mode & 0o777 == 0o600
    assert f"http://127.0.0.1:{port} (token: " in (folder / "log.txt").read_text()
    page.goto(f"http://127.0.0.1:{port}/")
    box = page.get_by_role("textbox").first
    box.wait_for(timeout=60_000)
    box.fill(token_file.read_text())
    page.keyboard.press("Enter")
    page.get_by_text(re.compile("Cluster")).first.wait_for(timeout=60_000)
