"""Boards of sweeps that have one name, and of rows and columns whose one name stands for different things."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from recorded_sweeps import a_config, record, row

from segsweep.orchestrator.board.formats import as_csv, as_json, as_markdown, as_table
from segsweep.orchestrator.board.leaderboard import read_board
from segsweep.orchestrator.board.rows import apart, make_board, named_apart
from segsweep.orchestrator.board.winner import winner
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.tracking.reader import Reader, Setup, TrialRow
from segsweep.orchestrator.tracking.store import resolve_uri
from segsweep.trainables.config import Evaluation

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # MLflow imports pydantic, starlette and sqlalchemy features that are going away
    "ignore::ResourceWarning",  # its SQLite connections are closed by the garbage collector
)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> str:
    """Two sweeps called `demo-1` of two users in one store; what they call `day` is not the same."""
    home = tmp_path_factory.mktemp("twins")
    uri = resolve_uri("sqlite:///mlflow.db", home)
    shutil.copy(empty_store, home)
    for user, value, first_s in (("ada", 0.5, 1_700_000_000), ("bob", 0.7, 1_700_100_000)):
        config = a_config("001", "day", "unet")
        folder = home / user / "demo-1"
        record(folder, uri, [(config, [value], "finished")], first_s=first_s, host=f"{user}s-node", data=user)
    return uri


def test_a_name_that_two_sweeps_have_is_refused_with_their_uids(twins: str) -> None:
    with pytest.raises(InputError) as caught:
        read_board(twins, sweep="demo-1")
    (mistake,) = caught.value.mistakes
    assert str(mistake).startswith("SWEEP demo-1: 2 sweeps have this name; give the uid of one: ")
    for sweep in Reader(twins).sweeps():
        assert f"{sweep.uid} (started 2023-11-1" in mistake.message
        assert f" by {sweep.user} on {sweep.host})" in mistake.message
    assert "on adas-node" in mistake.message
    with pytest.raises(InputError, match="2 sweeps have this name"):
        winner(twins, dataset="day", sweep="demo-1")


def test_best_of_sweeps_on_different_data_says_so(twins: str) -> None:
    done = CliRunner().invoke(cli, ["best", "--tracking-uri", twins])
    assert "# sweep: demo-1\n# " in done.stdout
    assert done.stderr.startswith("warning: 'day' names different data (ada in demo-1; bob in demo-1)")


def test_best_chooses_among_those_that_were_scored_in_one_way(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    shutil.copy(empty_store, tmp_path)
    uri = resolve_uri("sqlite:///mlflow.db", tmp_path)
    for name, value, flip in (("plain-1", 0.5, False), ("mirrored-1", 0.7, True)):
        config = a_config("001", "day", "unet")
        scored = config.model_copy(update={"evaluation": Evaluation(flip=flip)})
        record(tmp_path / name, uri, [(scored, [value], "finished")])
    with pytest.raises(InputError, match=r"has to name one of several: day \(whole\), day \(whole, flip\)"):
        winner(uri, dataset=None)
    assert winner(uri, dataset="day (whole)").row.value == 0.5
    assert winner(uri, dataset="day (whole, flip)").row.value == 0.7
    assert winner(uri, dataset="day", sweep="plain-1").row.value == 0.5


def test_a_uid_names_one_of_them(twins: str) -> None:
    values = {}
    for sweep in Reader(twins).sweeps():
        board = read_board(twins, sweep=sweep.uid)
        values[sweep.host] = (board.lines[0].scores["day"].value, board.lines[0].scores["day"].trials)
        assert winner(twins, dataset="day", sweep=sweep.uid)[0].sweep_uid == sweep.uid
        assert board.warnings == ()
    assert values == {"adas-node": (0.5, 1), "bobs-node": (0.7, 1)}


def test_different_data_under_one_name_are_pointed_out(twins: str) -> None:
    expected = "'day' names different data (ada in demo-1; bob in demo-1): values in its column do not compare"
    board = read_board(twins)
    assert [warning.startswith(expected) for warning in board.warnings] == [True]
    for text in (as_table(board, width=200, color=False), as_markdown(board), as_json(board)):
        assert expected in text
    result = CliRunner().invoke(cli, ["leaderboard", "--format", "csv", "--tracking-uri", twins])
    assert expected in result.stderr
    assert "warning" not in result.stdout


def scored_by(evaluation: Evaluation, sweep: str) -> TrialRow:
    return row("unet", "day", 0.5, sweep=sweep, setup=Setup("val_miou", str(evaluation), 2))


def test_trials_that_were_scored_differently_share_no_column_and_no_rank() -> None:
    rows = [scored_by(Evaluation(), "plain-1"), scored_by(Evaluation(flip=True, scales=(0.5, 1)), "tta-1")]
    rows = [*rows, row("unet", "night", 0.4)]
    board = make_board(named_apart(rows, apart(rows)), "val_miou")
    assert board.datasets == ("day (whole)", "day (whole, flip, scales 0.5 1)", "night")
    assert [score.rank for score in board.lines[0].scores.values()] == [1, 1, 1]
    assert json.loads(as_json(board))["cells"][1]["evaluation"] == "whole, flip, scales 0.5 1"
    assert "evaluation" in as_csv(board).splitlines()[0].split(",")
    assert named_apart(rows[1:], apart(rows[1:])) == rows[1:]


def trained_for(epochs: int, sweep: str, status: str = "finished") -> TrialRow:
    return row("unet", "day", 0.5, status, sweep=sweep, setup=Setup("val_miou", "whole", epochs))


def test_finished_trials_of_different_epochs_are_pointed_out() -> None:
    board = make_board([trained_for(10, "short-1"), trained_for(100, "long-1")], "val_miou")
    expected = "'day' was trained on for different times (10 epochs in short-1; 100 epochs in long-1): "
    assert [warning.startswith(expected) for warning in board.warnings] == [True]
    renewed = make_board([trained_for(10, "a-1", "superseded"), trained_for(100, "a-1")], "val_miou")
    assert renewed.warnings == ()


def sized(sweep: str, *params_m: float | None) -> list[TrialRow]:
    return [row("unet", "day", 0.5, sweep=sweep, params_m=one) for one in params_m]


def test_different_networks_of_one_name_are_pointed_out() -> None:
    board = make_board([*sized("wide-1", 0.59), *sized("slim-1", 0.48), *sized("slim-1", 0.4)], "val_miou")
    sizes = "params 0.4M to 0.48M in slim-1; 0.59M in wide-1"
    assert board.warnings == (f"unet on day: different networks share its row ({sizes}); name one SWEEP",)
    searched = [*sized("first-1", 0.48, 0.59, None), *sized("second-1", 0.59, 0.7), *sized("third-1", None)]
    assert make_board(searched, "val_miou").warnings == ()


def test_boundary_scores_beside_the_others_make_no_difference_to_them() -> None:
    rows = [scored_by(Evaluation(), "a-1"), scored_by(Evaluation(boundary=True), "b-1")]
    assert make_board(rows, "val_miou").warnings == ()
