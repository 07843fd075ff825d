"""A leaderboard over several MLflow stores."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from recorded_sweeps import a_config, record
from test_ui import served, text_of

from segsweep.orchestrator.board.several import Several, opened
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of MLflow

AWAY = "http://127.0.0.1:1"


@pytest.fixture
def stores(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """`alpha-1` is in both, as the second is a copy of the first; another sweep of that name is in the second alone."""
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    shutil.copy(empty_store, first)
    record(tmp_path / "ada/alpha-1", f"sqlite:///{first}", [(a_config("001", "day", "unet"), [0.5], "finished")])
    shutil.copy(first, second)
    later = 1_800_000_000
    better = [(a_config("001", "day", "unet"), [0.6], "finished"), (a_config("002", "day", "fpn"), [0.4], "finished")]
    record(tmp_path / "bob/alpha-1", f"sqlite:///{second}", better, first_s=later)  # type: ignore[arg-type]
    return f"sqlite:///{first}", f"sqlite:///{second}"


def segsweep(command: str, *uris: str) -> Result:
    return CliRunner().invoke(cli, [command, "--json", *(part for uri in uris for part in ("--tracking-uri", uri))])


def cells(result: Result) -> dict[str, Any]:
    return {cell["model"]: cell for cell in json.loads(result.stdout)["cells"]}


def test_every_run_of_all_stores_is_on_the_board_once(stores: tuple[str, str]) -> None:
    found = cells(segsweep("leaderboard", *stores))
    assert {model: (cell["val_miou"], cell["trials"]) for model, cell in found.items()} == {
        "unet/resnet18": (0.6, 2),
        "fpn/resnet18": (0.4, 1),
    }
    assert found == cells(segsweep("leaderboard", *stores, stores[0]))


def test_sweeps_of_one_name_in_two_stores_are_told_apart_by_their_stores(stores: tuple[str, str]) -> None:
    first, second = stores
    assert cells(segsweep("leaderboard", *stores))["unet/resnet18"]["sweep"] == f"alpha-1 in {second}"
    assert cells(segsweep("leaderboard", second))["unet/resnet18"]["sweep"] == "alpha-1"
    source, _ = opened(stores)
    assert sorted(row.sweep for row in source.trials()) == [f"alpha-1 in {first}", *2 * [f"alpha-1 in {second}"]]


def test_what_only_a_history_tells_is_asked_of_the_store_that_has_the_run(stores: tuple[str, str]) -> None:
    source, _ = opened(stores)
    assert isinstance(source, Several)
    values = {row.value: source.over_epochs(row.run_id, "val_iou/car", 1) for row in source.trials()}
    assert values == {0.5: 0.25, 0.6: 0.3, 0.4: 0.2}


@pytest.mark.parametrize("command", ["leaderboard", "pareto"])
def test_a_store_that_cannot_be_read_is_told_and_the_others_are_shown(stores: tuple[str, str], command: str) -> None:
    alone, both = segsweep(command, stores[0]), segsweep(command, stores[0], AWAY)
    assert both.stdout == alone.stdout
    assert alone.exception is None
    assert isinstance(both.exception, InputError)  # exit code 2
    assert str(both.exception).startswith(f"tracking URI {AWAY}: no MLflow server answers there")


def test_no_store_that_can_be_read_is_an_error_that_names_all(tmp_path: Path) -> None:
    missing = f"sqlite:///{tmp_path}/none.db"
    error = segsweep("leaderboard", AWAY, missing).exception
    assert isinstance(error, InputError)
    assert [mistake.place for mistake in error.mistakes] == [f"tracking URI {AWAY}", f"tracking URI {missing}"]


def test_trials_of_two_stores_are_shown_side_by_side(stores: tuple[str, str]) -> None:
    source, _ = opened(stores)
    ids = {row.value: row.run_id for row in source.trials()}
    given = (part for uri in stores for part in ("--tracking-uri", uri))
    done = CliRunner().invoke(cli, ["compare", f"run:{ids[0.5]}", f"run:{ids[0.4]}", "--json", *given])
    scores = next(table for table in json.loads(done.stdout) if table["title"] == "scores")
    assert [[*row.values()] for row in scores["rows"] if row[""] == "val_miou"] == [["val_miou", 0.5, 0.4]]
    missing = CliRunner().invoke(cli, ["compare", f"run:{ids[0.5]}", "run:gone", "--tracking-uri", stores[0]])
    assert "no run of a trial 'gone'" in str(missing.exception)


def test_pages_show_the_sweeps_of_all_stores_and_name_the_store_of_each(
    stores: tuple[str, str], tmp_path: Path
) -> None:
    first, second = stores
    options = [part for uri in (*stores, AWAY) for part in ("--tracking-uri", uri)]
    with served(tmp_path, "--no-mlflow", *options) as site:
        page = site.get("/").text
        links = dict(
            re.findall(r'href="(/sweeps/\w+)">alpha-1</a><br><small>by .*?</small><br><small>in (.*?)</small>', page)
        )
        assert sorted(links.values()) == sorted(stores)  # that of both is of the first
        assert f"tracking URI {AWAY}: no MLflow server answers there" in page
        for link, store in links.items():
            text = text_of(site.get(link))
            assert f"in {store}. Trials" in text
            assert ("fpn/resnet18" in text) == (store == second)
        assert f"in {first}</option>" in page
        which = site.get("/sweeps/alpha-1")
        assert (which.code, "Several sweeps are called alpha-1" in which.text) == (404, True)
