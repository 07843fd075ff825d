"""The server, from its first port to its last child."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from werkzeug.serving import WSGIRequestHandler, make_server

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.ui.access import is_loopback
from segsweep.orchestrator.ui.journals import Journals
from segsweep.orchestrator.ui.memo import Memo
from segsweep.orchestrator.ui.mlflow_page import MlflowPage, Ports
from segsweep.orchestrator.ui.overview import Sweeps
from segsweep.orchestrator.ui.pages import Parts, make_app
from segsweep.orchestrator.ui.reports import Reports
from segsweep.orchestrator.ui.store import Store


@dataclass(frozen=True)
class Place:
    """Where it listens."""

    host: str = "127.0.0.1"
    port: int = 8501  # 0: any that is free


class Quiet(WSGIRequestHandler):
    """Says nothing of requests that were answered, and not what serves them."""

    server_version, sys_version = "segsweep", ""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""


def serve(
    storage: Path,
    uris: Sequence[str],
    place: Place,
    *,
    mlflow: bool | None,
    ready: Callable[[str, dict[str, str]], None],
) -> None:
    """Until Ctrl-C or SIGTERM.

    mlflow: its own pages; None: but for those of databases. ready: is told the address, and MLflow's by store.
    Raises InputError if it cannot listen there.
    """
    with ExitStack() as ends:
        ends.enter_context(_until_asked())
        listening = ends.enter_context(_listen(place))
        reports = Reports()
        ends.callback(reports.close)
        store, ports = Store(uris), Ports(place.port + 1 if place.port else 8502)
        shown = store.uris if mlflow is not False else ()
        pages = {uri: MlflowPage(uri, ports, databases=mlflow is True) for uri in shown}
        for page in pages.values():
            ends.callback(page.close)
            page.look()
        parts = Parts(Sweeps(Journals(storage), store), reports, pages, Memo(16))
        port = listening.getsockname()[1]
        server = make_server(
            place.host,
            port,
            make_app(parts, place.host),
            threaded=True,
            request_handler=Quiet,
            fd=listening.fileno(),
        )
        ends.callback(server.server_close)
        host = f"[{place.host}]" if ":" in place.host else place.host
        ready(f"http://{host}:{port}", {uri: page.expected for uri, page in pages.items() if page.expected})
        server.serve_forever()


@contextmanager
def _listen(place: Place) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((place.host, place.port))
            listening.listen(128)
        except socket.gaierror:
            raise InputError(Mistake(f"--host {place.host}", "is not known here; give 127.0.0.1")) from None
        except OSError as error:
            raise InputError(Mistake(f"--port {place.port}", _why_not(place, error))) from None
        yield listening


def _why_not(place: Place, error: OSError) -> str:
    import errno

    if error.errno == errno.EADDRINUSE:
        return f"is taken on {place.host}; give another one, or --port 0 for any that is free"
    return f"cannot be used on {place.host} ({error.strerror}); give another --port, or --host 127.0.0.1"


@contextmanager
def _until_asked() -> Iterator[None]:
    """Ends at Ctrl-C, SIGTERM or the end of the terminal."""
    signals = signal.SIGINT, signal.SIGTERM, signal.SIGHUP

    def stop(signum: int, frame: FrameType | None) -> None:
        for one in signals:
            signal.signal(one, signal.SIG_IGN)  # a second Ctrl-C would leave children behind
        raise KeyboardInterrupt

    before = {one: signal.signal(one, stop) for one in signals}
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def warning(host: str) -> str:
    """What whoever serves to others has to know; "" on loopback."""
    if is_loopback(host):
        return ""
    return (
        f"--host {host}: everybody who reaches this machine there can read all sweeps and reports, without a password"
    )
