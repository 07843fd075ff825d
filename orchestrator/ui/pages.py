"""The pages. Every one of them is a GET that changes nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files

from flask import Flask, Response, make_response, render_template, request
from jinja2 import ChoiceLoader, PackageLoader, StrictUndefined
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from segsweep.orchestrator.board.columns import FURTHER
from segsweep.orchestrator.board.leaderboard import Asked
from segsweep.orchestrator.board.rows import SORTS
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.report.contents import Section
from segsweep.orchestrator.report.page import plotly_js, with_code
from segsweep.orchestrator.tracking.sweep_rows import SweepRow
from segsweep.orchestrator.ui.access import HEADERS, REPORT_POLICY, Hosts, is_loopback, name_in
from segsweep.orchestrator.ui.journals import JournalReader
from segsweep.orchestrator.ui.memo import Memo
from segsweep.orchestrator.ui.mlflow_page import MlflowPage
from segsweep.orchestrator.ui.outlines import outline_of
from segsweep.orchestrator.ui.overview import Sweeps
from segsweep.orchestrator.ui.reports import Reports
from segsweep.orchestrator.ui.sweep_page import blocks, happenings, results
from segsweep.trainables.catalog import did_you_mean

MOST_NAMES = 20  # of sweeps, the newest, where one is not known
LIVE_S, CALM_S = 5, 30  # between two looks of a page: while a sweep runs, and where one may begin


@dataclass(frozen=True)
class Parts:
    """What the pages tell of."""

    sweeps: Sweeps
    reports: Reports
    mlflow: Mapping[str, MlflowPage]  # by the store's URI
    results: Memo[list[Section]]


def make_app(parts: Parts, host: str) -> Flask:
    """host: what it will listen on."""
    app = Flask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.jinja_loader = ChoiceLoader([PackageLoader(f"segsweep.orchestrator.{room}") for room in ("ui", "report")])
    app.jinja_options = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.filters |= {"code": with_code, "moment": _moment}
    _guard(app, Hosts(host))
    _scripts(app)
    _pages(app, parts)
    return app


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else "-"


def _guard(app: Flask, hosts: Hosts) -> None:
    @app.before_request
    def check() -> AnyResponse | None:
        if not hosts.trusts(request.headers.get("Host", "")):
            return _notice("Not here", "This server is asked by a name that is none of its own.", 403)
        if request.method not in ("GET", "HEAD"):
            return _notice("Read only", "These pages can be looked at; nothing can be changed here.", 405)
        return None

    @app.after_request
    def protect(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> AnyResponse:
        text = "There is no such page." if error.code == 404 else error.description or error.name
        return _notice(error.name, text, error.code or 500)

    @app.errorhandler(InputError)
    def tell(error: InputError) -> AnyResponse:
        return _notice("This cannot be shown", str(error), 200)


def _notice(title: str, text: str, code: int, links: Sequence[str] = ()) -> AnyResponse:
    return make_response(render_template("notice.html", title=title, text=text, links=links, refresh=0), code)


def _scripts(app: Flask) -> None:
    live = files("segsweep.orchestrator.ui").joinpath("templates/live.js").read_text(encoding="utf-8")

    @app.get("/live.js")
    def live_js() -> Response:
        return Response(live, mimetype="text/javascript")

    @app.get("/plotly.js")
    def plotly() -> Response:
        response = Response(str(plotly_js()), mimetype="text/javascript")
        response.headers["Cache-Control"] = "max-age=86400, immutable"  # 4.8 MB; its address names its version
        return response

    app.jinja_env.globals["plotly_version"] = version("plotly")


def _pages(app: Flask, parts: Parts) -> None:
    sweeps = parts.sweeps

    @app.context_processor
    def everywhere() -> dict[str, object]:
        return {"mlflow": _mlflow_addresses(parts.mlflow), "several": len(sweeps.store.uris) > 1}

    @app.get("/")
    def index() -> AnyResponse:
        found, asked = sweeps.overview(), _asked()
        per_class = bool(request.args.get("per_class"))
        answer = sweeps.store.board(asked, per_class=per_class) if found.stored else None
        return make_response(
            render_template(
                "sweeps.html",
                found=found,
                asked=asked,
                per_class=per_class,
                board=blocks(answer.tables, answer.warnings) if answer else None,
                storage=sweeps.journals.place,
                stores=sweeps.store.uris,
                warnings=[*{page.problem for page in parts.mlflow.values() if page.problem}],
                choices={"columns": tuple(FURTHER), "sort": (*SORTS, *(answer.datasets if answer else ()))},
                live_s=LIVE_S if found.problems or any(one.phase == "running" for one in found.outlines) else CALM_S,
            )
        )

    @app.get("/sweeps/<name>")
    def sweep(name: str) -> AnyResponse:
        if (reader := sweeps.journals.named(name)) is not None:
            return _from_journal(parts, reader)
        match sweeps.in_store(name):
            case (row,):
                return _from_store(parts, row)
            case rows:
                return _unknown(sweeps, name, rows)

    @app.get("/sweeps/<name>/report")
    def report(name: str) -> AnyResponse:
        if (reader := sweeps.journals.named(name)) is not None:
            return _report(parts, reader)
        if rows := sweeps.in_store(name):
            text = f"Reports are made of journals; that of {rows[0].name} is on {rows[0].host or 'another machine'}."
            return _notice("No report here", text, 404)
        return _unknown(sweeps, name, ())


def _asked() -> Asked:
    """What the address asks of the board."""
    given = request.args
    texts = {key: given.get(key, "").strip() or None for key in ("sweep", "dataset", "metric", "sort")}
    where = tuple(text.strip() for text in given.getlist("where") if text.strip())
    columns = tuple(name for text in given.getlist("columns") for name in text.split(",") if name)
    return Asked(texts["sweep"], texts["dataset"], texts["metric"], texts["sort"] or "value", where, columns)


def _mlflow_addresses(pages: Mapping[str, MlflowPage]) -> dict[str, str]:
    """Where this browser reaches MLflow, by store; of those that it does."""
    for page in pages.values():
        page.look()
    is_here = is_loopback(name_in(request.host))
    return {uri: page.address for uri, page in pages.items() if page.address and (is_here or not page.is_ours)}


def _from_journal(parts: Parts, reader: JournalReader) -> AnyResponse:
    with parts.sweeps.journals.reading(reader) as state:
        outline = outline_of(reader.folder, state)
        running = outline.phase == "running"
        drawn = parts.results.get(reader.folder, reader.stamp, lambda: results(state, reader.folder), exact=not running)
        sections = [*happenings(state, outline, reader.folder), *drawn]
    rows, _ = parts.sweeps.store.sweeps()
    row = next((row for row in rows if row.uid == outline.uid), None)
    live_s = LIVE_S if running else 0
    return make_response(
        render_template("sweep.html", one=outline, sections=sections, row=row, here=True, live_s=live_s)
    )


def _from_store(parts: Parts, row: SweepRow) -> AnyResponse:
    store = parts.sweeps.store
    (outline,) = store.outlines([row])
    answer = store.board(Asked(row.uid))
    sections = [Section("leaderboard", "Leaderboard", blocks(answer.tables, answer.warnings))]
    live_s = LIVE_S if outline.phase == "running" else 0
    return make_response(
        render_template("sweep.html", one=outline, sections=sections, row=row, here=False, live_s=live_s)
    )


def _unknown(sweeps: Sweeps, name: str, rows: Sequence[SweepRow]) -> AnyResponse:
    if rows:
        text = f"Several sweeps are called {name}: " + ", ".join(map(str, rows))
        return _notice("Which one?", text, 404, [row.uid for row in rows])
    known = [one.key for one in sweeps.overview().outlines]
    return _notice("No such sweep", f"There is no sweep '{name}'.{did_you_mean(name, known)}", 404, known[:MOST_NAMES])


def _report(parts: Parts, reader: JournalReader) -> AnyResponse:
    with parts.sweeps.journals.reading(reader) as state:
        running, stamp = outline_of(reader.folder, state).phase == "running", reader.stamp
    made = parts.reports.ask(reader.folder, stamp, running=running)
    if made is None:
        text = f"The report of {reader.folder.name} is being made; this takes some seconds, with pictures longer."
        return make_response(render_template("notice.html", title="One moment", text=text, links=(), refresh=2), 202)
    if made.file is None:
        return _notice("There is no report", made.problem, 200)
    response = Response(made.file.read_bytes(), mimetype="text/html")
    response.headers["Content-Security-Policy"] = REPORT_POLICY
    return response
