"""Which MLflow store, and whether it answers."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.passwords import HOLDS_PASSWORD, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
ANSWER_TIMEOUT_S = 10.0
SQLITE_TIMEOUT_S = 120.0  # a new file gets its tables first: 2 s, but many times that on a busy machine
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
NOT_LET_IN = (
    "the server does not take this user name and password; put yours into ~/.mlflow/credentials (section [mlflow]:"
    " mlflow_tracking_username, mlflow_tracking_password), or into the variables of those names in capitals"
)
OTHER_STORE = "name another store in $MLFLOW_TRACKING_URI, with `launch --set tracking.uri=URI`, or --tracking-uri URI"


def resolve_uri(uri: str | None, cwd: Path) -> str:
    """`uri`, else $MLFLOW_TRACKING_URI, else MLflow's own default in `cwd`; a relative SQLite path made absolute.

    Without a password, so that it can be kept and shown; `connect` takes it from $MLFLOW_TRACKING_URI again.
    Raises InputError if `uri` itself holds one: command lines are seen and kept by others.
    """
    if uri and uri != without_password(uri):
        raise _refused(uri, HOLDS_PASSWORD)
    uri = uri or without_password(os.environ.get("MLFLOW_TRACKING_URI", "")) or SQLITE + "mlflow.db"
    if not uri.startswith(SQLITE):
        return uri
    path = (cwd / unquote(uri.removeprefix(SQLITE))).resolve()
    return SQLITE + str(path).replace("%", "%25").replace("?", "%3F").replace("#", "%23")


def sqlite_path(uri: str) -> Path | None:
    """The database file of an absolute SQLite URI; None for every other kind of store."""
    return Path(unquote(uri.removeprefix(SQLITE))) if uri.startswith(SQLITE) else None


def import_mlflow() -> None:
    """Import mlflow (1.2 s) so that it neither chats on the terminal nor retries for minutes."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # its own retries make a second run of one
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(int(ANSWER_TIMEOUT_S)))
    import mlflow  # noqa: F401

    for name in ("mlflow", "alembic", "urllib3"):  # what they have to say comes back as exceptions
        logging.getLogger(name).setLevel(logging.CRITICAL)


def connect(uri: str) -> MlflowClient:
    """A client for the store (see `resolve_uri`); a new SQLite file gets its tables (2 s).

    Raises whatever the store raises.
    """
    import_mlflow()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=with_password(uri))


def with_password(uri: str) -> str:
    """$MLFLOW_TRACKING_URI if it is `uri` and a password."""
    whole = os.environ.get("MLFLOW_TRACKING_URI", "")
    return whole if without_password(whole) == uri else uri


def check(uri: str, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
    """Raise InputError if the store behind `uri` cannot be written to, or does not answer in time."""
    scheme = urlsplit(uri).scheme
    if scheme.startswith("http"):
        _check_port(uri, timeout_s)
    elif path := sqlite_path(uri):
        _check_sqlite(uri, path)
        timeout_s = max(timeout_s, SQLITE_TIMEOUT_S)
    elif not scheme.startswith(DATABASES):
        raise _refused(uri, _why_no_store(uri, scheme))
    _check_answer(uri, timeout_s)


def _refused(uri: str, why: str) -> InputError:
    return InputError(Mistake(f"tracking URI {without_password(uri)}", why))


def _why_no_store(uri: str, scheme: str) -> str:
    if scheme == "file" or not scheme:
        return f"MLflow no longer keeps runs in plain files; use {SQLITE}mlflow.db or the http:// address of a server"
    return f"'{scheme}' is no store; use {SQLITE}PATH, postgresql://..., or the http:// address of an MLflow server"


def _check_port(uri: str, timeout_s: float) -> None:
    parts = urlsplit(uri)
    try:
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        if not host:
            raise _refused(uri, "has no host; write http://HOST:PORT")
        socket.create_connection((host, port), timeout_s).close()
    except ValueError as error:
        raise _refused(uri, f"is no address: {error}") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise _refused(
            uri, f"no MLflow server answers there ({reason}); start it with `mlflow server`, or drop the URI"
        ) from None


def _check_sqlite(uri: str, path: Path) -> None:
    existed = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=2)) as database:
            database.execute("BEGIN IMMEDIATE")  # takes the write lock: proves that the file can be written
            database.rollback()
    except (OSError, sqlite3.Error) as error:
        if not existed:
            with suppress(OSError):
                path.unlink()  # sqlite3 made an empty file
        raise _refused(uri, f"{path} cannot be written: {error}; {OTHER_STORE}") from None


def _check_answer(uri: str, timeout_s: float) -> None:
    """Ask the store something. In a thread, because database drivers know no common time limit."""
    import_mlflow()  # here, because a cold import may take longer than the answer
    failures: list[Exception] = []

    def ask() -> None:
        try:
            connect(uri).search_experiments(max_results=1)
        except Exception as error:  # whatever it is, the store is not usable
            failures.append(error)

    thread = threading.Thread(target=ask, name="mlflow-check", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise _refused(uri, f"does not answer within {timeout_s:.0f} s")
    if failures:
        raise _refused(uri, f"is not usable: {message_of(failures[0])}")


def message_of(error: Exception, limit: int = 240) -> str:
    """What MLflow says went wrong, in one line: no help links, and no password."""
    if getattr(error, "error_code", "") == "UNAUTHENTICATED":
        return NOT_LET_IN
    text = without_password(" ".join(str(error).split("(Background on this error")[0].split()))
    return text if len(text) <= limit else text[: limit - 3] + "..."
