"""The leaderboard of a real MLflow server: the same as of its database, from its answers or from the index."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from recorded_sweeps import a_config, record
from waiting import answers, wait_until

from segsweep.orchestrator.board.formats import as_json
from segsweep.orchestrator.board.index import Index, place
from segsweep.orchestrator.board.leaderboard import read_board
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.launching.ray_session import free_port
from segsweep.orchestrator.tracking.reading import rest_store
from segsweep.orchestrator.tracking.reading.rest_store import RestStore
from segsweep.orchestrator.tracking.reading.sqlite_store import SqliteStore
from segsweep.orchestrator.tracking.reading.stored import Query, StoredRun

pytestmark = [
    pytest.mark.drill,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # of MLflow
]
NAN = float("nan")


class Served(NamedTuple):
    process: subprocess.Popen[bytes]
    uri: str
    database: Path

    @property
    def direct(self) -> str:
        return f"sqlite:///{self.database}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Served]:
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    database = Path(shutil.copy(empty_store, folder / "mlflow.db"))
    trials = [
        (a_config("001", "day", "unet"), [0.5, NAN], "finished"),
        (a_config("002", "day", "fpn"), [0.7], "finished"),
        (a_config("003", "it's", "fpn"), [], "failed"),
    ]
    record(folder / "alpha-1", f"sqlite:///{database}", trials)  # type: ignore[arg-type]
    command = [str(Path(sys.executable).parent / "mlflow"), "server", "--backend-store-uri", f"sqlite:///{database}"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(
        [*command, "--port", str(port), "--workers", "1"], cwd=folder, env=environment, stdout=nowhere, stderr=nowhere
    ) as process:
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), "MLflow's server")
            yield Served(process, f"http://127.0.0.1:{port}", database)
        finally:
            process.terminate()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))


def plain(run: StoredRun) -> str:
    """Equal texts for equal runs: NaN is not equal to itself."""
    return repr((run[:4], *(sorted(part.items()) for part in (run.tags, run.params, run.metrics))))


@pytest.mark.parametrize(
    "query",
    [
        Query({"segsweep.kind": "trial"}),
        Query({"segsweep.kind": "sweep"}),
        Query({"segsweep.dataset": "it's"}),
        Query({"segsweep.kind": "trial"}, ended_since_ms=1_700_000_150_000),
        Query({"segsweep.kind": "trial"}, deleted=True),
    ],
)
def test_a_server_answers_as_its_tables_do_page_by_page(
    served: Served, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_store, "PAGE", 2)
    through, direct = RestStore(served.uri), SqliteStore(served.database)
    assert list(map(plain, through.search(query))) == list(map(plain, direct.search(query)))
    run_id = next(iter(direct.search(Query({"segsweep.trial_id": "002"})))).run_id
    assert through.history(run_id, "epoch_s") == direct.history(run_id, "epoch_s") == [(1, 30.0)]


def test_the_board_of_a_server_is_that_of_its_database(served: Served) -> None:
    assert as_json(read_board(served.uri)) == as_json(read_board(served.direct))
    index = Index(served.uri)
    assert {row.trial_id: row.value for row in index.trials(metric="val_iou/car")} == {
        "001": 0.25,
        "002": 0.35,
        "003": None,
    }
    place(served.uri).unlink()
    assert Index(served.uri).trials() == index.trials()


def test_a_server_that_stops_is_shown_as_it_was_with_its_age_or_refused(served: Served) -> None:
    """The last test of the server."""
    before = read_board(served.uri)
    served.process.terminate()
    served.process.wait(30)
    after = read_board(served.uri)
    assert (after.lines, after.read_s) == (before.lines, before.read_s)
    (warning,) = set(after.warnings) - set(before.warnings)
    assert re.match(r"this is as of \d+ s ago: .*no MLflow server answers there", warning)
    place(served.uri).unlink()
    with pytest.raises(InputError, match="no MLflow server answers there"):
        read_board(served.uri)
