"""`segsweep ui` over real HTTP: what its pages tell, whom they refuse, and that they change nothing."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from report_sweeps import simulated, trained

from segsweep.orchestrator.board.several import Source
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.record.journal import DriverStarted, DriverStopped, Event, Journal, SweepCreated, read_events
from segsweep.orchestrator.ui import store
from segsweep.orchestrator.ui.access import Hosts
from segsweep.orchestrator.ui.journals import Journals
from segsweep.orchestrator.ui.memo import Memo

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # MLflow's, SQLite's
]
COMMAND = [sys.executable, "-c", "from segsweep.orchestrator.cli import main; main()", "ui", "--port", "0"]


class Page(NamedTuple):
    code: int
    text: str
    headers: dict[str, str]


class Site(NamedTuple):
    folder: Path
    port: int
    process: subprocess.Popen[str]

    def get(self, path: str, method: str = "GET", host: str | None = None) -> Page:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, headers={"Host": host or f"127.0.0.1:{self.port}"})
        with connection.getresponse() as response:
            page = Page(response.status, response.read().decode(), dict(response.headers))
        connection.close()
        return page

    def report(self, path: str) -> Page:
        """Once it is made."""
        deadline = time.monotonic() + 120
        while (page := self.get(path)).code == 202:
            assert time.monotonic() < deadline
            time.sleep(0.3)
        return page


@contextmanager
def served(folder: Path, *options: str, **variables: str) -> Iterator[Site]:
    """Beside the sweeps and the store in `folder`."""
    environment = {**os.environ, "SEGSWEEP_CACHE": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}
    for name in ("MLFLOW_TRACKING_URI", "SEGSWEEP_STORAGE"):
        environment.pop(name, None)
    environment |= variables
    with subprocess.Popen(
        [*COMMAND, *options], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline()
            found = re.fullmatch(r"http://127\.0\.0\.1:(\d+) \(Ctrl-C ends it\)\n", address)
            assert found, address
            yield Site(folder, int(found[1]), process)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def unfinished(folder: Path, source: Path, name: str) -> list[Event]:
    """Half of a journal, in the folder of a sweep of that name; the other half."""
    events = [event for event, _ in read_events(source / "journal.jsonl")]
    half = len(events) // 2
    created = events[0]
    assert isinstance(created, SweepCreated)
    begun = [created.model_copy(update={"plan": {"trials": 80}}), DriverStarted(pid=1, host="here", backend="test")]
    (folder / name).mkdir(parents=True)
    with Journal(folder / name / "journal.jsonl", fsync=False) as journal:
        for event in (*begun, *events[1:half]):
            journal.append(event)
    return events[half:]


def breaks(assignment: Assignment, epoch: int) -> None:
    if assignment.config.trial_id == "003":
        raise RuntimeError("<b>no</b> such kernel")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Site]:
    """A sweep that trained, one whose driver died, one that nobody can read."""
    folder = tmp_path_factory.mktemp("ui")
    trained(folder, empty_store)
    (folder / "scripted").mkdir()
    simulated(folder / "scripted")
    unfinished(folder / "sweeps", folder / "scripted", "dead-1")
    (folder / "sweeps/unlucky-1").mkdir()
    simulated(folder / "sweeps/unlucky-1", mishap=breaks)
    (folder / "sweeps/broken-1").mkdir()
    (folder / "sweeps/broken-1/journal.jsonl").write_text("nonsense\n")
    with served(folder, "--no-mlflow") as running:
        yield running


def text_of(page: Page) -> str:
    """Without tags and the space between them."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page.text, flags=re.DOTALL).split())


def test_the_first_page_tells_of_every_sweep_and_ranks_those_of_the_store(site: Site) -> None:
    page = site.get("/")
    text = text_of(page)
    assert page.code == 200
    assert "real-1 done 4 of 4 trials" in text
    assert "confirmed, mean of 2 fresh seeds" in text
    assert re.search(r"dead-1 killed \d+ of 80 trials", text)
    assert re.search(
        r"broken-1 cannot be read \S*broken-1/journal.jsonl: the line that ends at byte 9 is no event", text
    )
    board = text.partition("Leaderboard")[2]
    assert "fpn/tu-mobilenetv3_small_050" in board
    assert "95 % interval" in board
    assert "linknet/tu-mobilenetv3_small_050" in board


def test_the_leaderboard_takes_the_options_of_the_command(site: Site) -> None:
    one = text_of(site.get("/?where=model%3Dfpn/tu-mobilenetv3_small_050&columns=gmacs&columns=rank"))
    header = re.search(r"model streets GMACs rank", one)
    assert header, one
    assert "linknet/tu-mobilenetv3_small_050" not in one[header.start() :].partition("Confirmed")[0]
    classes = text_of(site.get("/?per_class=1"))
    assert re.search(r"class \S*fpn\S* \S*linknet\S*|class \S*linknet\S* \S*fpn\S*", classes)
    unknown = site.get("/?dataset=street")
    assert unknown.code == 200
    assert "--dataset street: is not known. Did you mean &#39;streets&#39;?" in unknown.text


def test_names_are_text_and_nothing_else(site: Site) -> None:
    for path in ("/", "/sweeps/dead-1", "/?where=%3Cscript%3Ealert(1)%3C/script%3E", "/sweeps/%3Cscript%3Ealert(1)"):
        page = site.get(path)
        assert "&lt;script&gt;alert(1)" in page.text, path
        assert "<script>alert" not in page.text, path


def test_a_sweep_whose_driver_died_says_how_to_go_on_and_is_not_looked_at_again(site: Site) -> None:
    page = site.get("/sweeps/dead-1")
    assert "It can go on: segsweep resume" in text_of(page)
    assert "Learning curves" in text_of(page)
    assert "noscript" not in page.text
    assert 'data-every-s="0"' in page.text


def test_trials_that_failed_are_told_with_their_reasons(site: Site) -> None:
    page = site.get("/sweeps/unlucky-1")
    failed = text_of(page).partition("Failures")[2]
    assert re.search(r"#003 \S+ .* failed 0 epochs RuntimeError: &lt;b&gt;no&lt;/b&gt; such kernel", failed), failed[
        :300
    ]
    assert "segsweep why 003 unlucky-1" in failed


def test_a_journal_that_cannot_be_read_has_a_page_that_says_so(site: Site) -> None:
    for path in ("/sweeps/broken-1", "/sweeps/broken-1/report"):
        page = site.get(path)
        assert page.code == 200
        assert "the line that ends at byte 9 is no event" in page.text


@pytest.mark.parametrize("path", ["/sweeps/reel-1", "/sweeps/reel-1/report"])
def test_an_unknown_sweep_is_not_found_and_the_nearest_name_told(site: Site, path: str) -> None:
    page = site.get(path)
    assert page.code == 404
    assert "There is no sweep &#39;reel-1&#39;. Did you mean &#39;real-1&#39;?" in page.text
    assert '<a href="/sweeps/real-1">' in page.text


@pytest.mark.parametrize("path", ["/sweeps/..", "/sweeps/..%2Fscripted", "/sweeps/%2E%2E%2Fscripted/report", "/etc"])
def test_no_address_leads_out_of_the_storage(site: Site, path: str) -> None:
    page = site.get(path)
    assert page.code == 404
    assert "Learning curves" not in page.text


def test_only_reading_is_answered(site: Site) -> None:
    assert site.get("/", "HEAD")[:2] == (200, "")
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert site.get("/", method).code == 405, method
        assert site.get("/sweeps/real-1/report", method).code == 405, method


def test_only_names_of_this_machine_are_answered(site: Site) -> None:
    for host in ("localhost", "127.0.0.1", "[::1]:80", "LOCALHOST:1"):
        assert site.get("/", host=host).code == 200, host
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "localhost@evil", "[", "a]b"):
        page = site.get("/", host=host)
        assert page.code == 403, host
        assert "real-1" not in page.text


def test_hosts_of_a_server_on_all_addresses_are_numbers_and_its_own_names() -> None:
    everywhere = Hosts("0.0.0.0")
    assert everywhere.trusts("192.168.1.7:8501")
    assert everywhere.trusts(socket.gethostname())
    assert not everywhere.trusts("evil.example:8501")
    assert Hosts("lab.example").trusts("lab.example:8501")
    assert not Hosts("lab.example").trusts("192.168.1.7")


@pytest.mark.parametrize("path", ["/", "/sweeps/real-1", "/live.js", "/nowhere"])
def test_a_browser_is_told_to_fetch_nothing_from_elsewhere(site: Site, path: str) -> None:
    headers = site.get(path).headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")


def test_a_report_is_made_once_for_a_journal_as_it_is(site: Site) -> None:
    first = site.report("/sweeps/real-1/report")
    assert first.code == 200
    assert "The answer" in first.text
    assert "Worst and best images" in first.text
    assert "data:image/jpeg" in first.text
    assert "script-src 'unsafe-inline'" in first.headers["Content-Security-Policy"]
    again = site.get("/sweeps/real-1/report")
    assert (again.code, again.text) == (200, first.text)  # the time in it, too


def test_nothing_that_is_served_is_changed(site: Site) -> None:
    def state() -> dict[Path, str]:
        files = [site.folder / "mlflow.db", *(site.folder / "sweeps").rglob("*")]
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}

    before = state()
    for path in ("/", "/sweeps/real-1", "/sweeps/dead-1", "/?per_class=1"):
        site.get(path)
    site.report("/sweeps/dead-1/report")
    assert state() == before
    assert not (site.folder / "mlflow.db-wal").exists()


def test_a_running_sweep_is_looked_at_again_until_it_has_ended(site: Site) -> None:
    rest = unfinished(site.folder / "sweeps", site.folder / "scripted", "live-1")
    with Journal(site.folder / "sweeps/live-1/journal.jsonl", fsync=False) as journal:
        before = site.get("/sweeps/live-1")
        assert 'data-every-s="5"' in before.text
        assert "Running trials" in before.text
        ended = int(re.findall(r"(\d+) of 80 trials", text_of(before))[0])
        for event in rest:
            journal.append(event)
        assert int(re.findall(r"(\d+) of 80 trials", text_of(site.get("/sweeps/live-1")))[0]) == 80 > ended
        journal.append(DriverStopped(status="done"))
    after = site.get("/sweeps/live-1")
    assert text_of(after).count("done 80 of 80 trials") == 1
    assert 'data-every-s="0"' in after.text


def test_a_sweep_of_others_is_shown_as_the_store_has_it(site: Site) -> None:
    (site.folder / "elsewhere").mkdir(exist_ok=True)
    with served(site.folder, "--no-mlflow", "--storage", "elsewhere") as other:
        index = other.get("/")
        link = re.findall(r'<a href="(/sweeps/\w+)">real-1</a>', index.text)[0]
        assert link != "/sweeps/real-1"  # its uid: names repeat in a store
        for path in (link, "/sweeps/real-1"):
            page = other.get(path)
            assert "its journal is not here" in page.text
            assert "fpn/tu-mobilenetv3_small_050" in page.text
        report = other.get(f"{link}/report")
        assert report.code == 404
        assert "Reports are made of journals" in report.text


def test_without_sweep_or_store_the_page_says_how_to_start(tmp_path: Path) -> None:
    with served(tmp_path) as nothing:
        page = nothing.get("/")
        assert page.code == 200
        assert "There is no sweep yet. Start one with segsweep launch FILE" in text_of(page)
        assert list(tmp_path.glob("*.db")) == []


def test_a_port_that_is_taken_is_named_with_the_remedy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port}: is taken on 127.0.0.1; give another one, or --port 0"):
            CliRunner().invoke(cli, ["ui", "--port", str(port), "--no-mlflow"], catch_exceptions=False)


def test_serving_to_others_warns(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["ui", "--host", "no.such.host.invalid", "--no-mlflow"])
    assert isinstance(result.exception, InputError)
    assert "warning: --host no.such.host.invalid: everybody who reaches this machine there can read" in result.stderr


def test_the_server_needs_no_torch() -> None:
    code = "import segsweep.orchestrator.ui.serving, sys; print({'torch', 'ray', 'mlflow'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


@pytest.mark.timeout(200)
def test_mlflows_own_page_is_served_beside_and_ends_with_ours(site: Site) -> None:
    with served(site.folder) as both:
        assert both.process.stdout is not None
        told = re.fullmatch(r"http://127\.0\.0\.1:(\d+) is MLflow's own page, .*\n", both.process.stdout.readline())
        deadline = time.monotonic() + 150
        while not (found := re.findall(r"http://127\.0\.0\.1:(\d+)/#/runs/\w+", both.get("/").text)):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        port = int(found[0])
        assert told is not None
        assert int(told[1]) == port
        assert Site(site.folder, port, both.process).get("/health").text == "OK"
        both.process.send_signal(signal.SIGTERM)
        assert both.process.wait(30) == 0
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def group(process: int) -> list[Path]:
    """Processes that were started by this one in a session of their own, and theirs."""
    stats = {path: path.read_text().rpartition(") ")[2].split() for path in Path("/proc").glob("[0-9]*/stat")}
    leaders = [path.parent.name for path, facts in stats.items() if facts[1] == str(process)]
    return [path for path, facts in stats.items() if facts[0] != "Z" and facts[2] in leaders]


@pytest.mark.timeout(200)
def test_mlflows_page_ends_when_ours_is_killed(site: Site) -> None:
    with served(site.folder) as both:
        deadline = time.monotonic() + 150
        while not re.findall(r"http://127\.0\.0\.1:(\d+)/#/runs/\w+", both.get("/").text):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        started = group(both.process.pid)
        assert len(started) > 1
        both.process.kill()
        both.process.wait(10)
        deadline = time.monotonic() + 30
        while left := [path for path in started if path.exists() and ") Z " not in path.read_text()]:
            assert time.monotonic() < deadline, left
            time.sleep(0.1)


def test_a_journal_is_read_on_where_it_grew_and_anew_where_it_was_replaced(tmp_path: Path) -> None:
    (tmp_path / "scripted").mkdir()
    simulated(tmp_path / "scripted")
    rest = unfinished(tmp_path / "sweeps", tmp_path / "scripted", "one")
    reader = Journals(tmp_path / "sweeps").named("one")
    assert reader is not None
    with reader.reading() as state:
        before, trials = state, len(state.trials)
    with Journal(tmp_path / "sweeps/one/journal.jsonl", fsync=False) as journal:
        for event in rest:
            journal.append(event)
    with reader.reading() as state:
        assert state is before
        assert len(state.trials) == 80 > trials
    (tmp_path / "scripted/journal.jsonl").replace(tmp_path / "sweeps/one/journal.jsonl")
    with reader.reading() as state:
        assert state is not before
        assert state.driver is None  # as in the other file


def test_what_took_long_serves_a_little_longer_but_not_where_it_has_to_be_exact() -> None:
    memo, made = Memo[int](2), []

    def make() -> int:
        time.sleep(0.05)
        made.append(1)
        return len(made)

    assert [memo.get("a", stamp, make, exact=False) for stamp in (1, 1, 2)] == [1, 1, 1]
    assert memo.get("a", 2, make, exact=True) == 2
    assert [memo.get(key, 2, make) for key in ("a", "b", "c", "a")] == [2, 3, 4, 5]  # only two are kept


def test_nobody_waits_for_a_store_that_takes_long_to_be_read_first(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "FIRST_S", 0.01)
    answers, opened = threading.Event(), store.opened

    def late(uris: Sequence[str]) -> tuple[Source, list[Mistake]]:
        answers.wait(60)
        return opened(uris)

    monkeypatch.setattr(store, "opened", late)
    slow = store.Store([f"sqlite:///{empty_store}"])
    assert [slow.sweeps() for _ in range(2)] == 2 * [((), store.READING)]
    answers.set()
    deadline = time.monotonic() + 20
    while slow.sweeps() != ((), ""):
        assert time.monotonic() < deadline
        time.sleep(0.01)
