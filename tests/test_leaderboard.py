"""Trials to a leaderboard, and the best of them to a search space that launches again."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from recorded_sweeps import ROWS, a_config, record, row
from scripted import plan_of

from segsweep.orchestrator.board.formats import as_csv, as_json, as_markdown, as_table
from segsweep.orchestrator.board.leaderboard import read_board
from segsweep.orchestrator.board.rows import Board, make_board
from segsweep.orchestrator.board.winner import winner
from segsweep.orchestrator.checking.reproduction import as_yaml, single_point
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.durations import duration
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.tracking.reader import Reader
from segsweep.orchestrator.tracking.store import resolve_uri
from segsweep.trainables.config import Entry, Evaluation, Objective

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # MLflow imports pydantic, starlette and sqlalchemy features that are going away
    "ignore::ResourceWarning",  # its SQLite connections are closed by the garbage collector
)


def models(board: Board) -> list[str]:
    return [line.model for line in board.lines]


# -- what a board says ----------------------------------------------------------------------------------------------


def test_a_cell_is_the_best_finished_trial_and_stopped_ones_never_rank() -> None:
    board = make_board(ROWS, "val_miou")
    score = next(line for line in board.lines if line.model == "unet/resnet18").scores["camvid"]
    assert (score.value, score.trials, score.finished, score.stopped, score.failed) == (0.61, 3, 1, 1, 1)
    fpn = next(line for line in board.lines if line.model == "fpn/resnet18")
    assert fpn.scores["camvid"].value == 0.64
    assert fpn.scores["streets"].value is None
    assert (fpn.scores["streets"].failed, fpn.scores["streets"].infeasible) == (1, 1)


def test_the_best_of_every_dataset_leads_ties_included() -> None:
    board = make_board([*ROWS, row("linknet/a", "camvid", 0.64)], "val_miou")
    leads = {(line.model, d) for line in board.lines for d, score in line.scores.items() if score.leads}
    assert leads == {("fpn/resnet18", "camvid"), ("linknet/a", "camvid"), ("segformer/b0", "streets")}


def test_lines_without_a_cell_come_last_whatever_the_rest_says() -> None:
    board = make_board(ROWS, "val_miou")
    assert models(board) == ["segformer/b0", "unet/resnet18", "fpn/resnet18"]  # means 0.665, 0.655, none
    assert board.lines[0].mean(board.datasets) == pytest.approx(0.665)
    assert board.lines[2].mean(board.datasets) is None


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("camvid", ["fpn/resnet18", "unet/resnet18", "segformer/b0"]),
        ("rank", ["segformer/b0", "unet/resnet18", "fpn/resnet18"]),  # 3 and 1, 2 and 2, 1 and none
        ("model", ["fpn/resnet18", "segformer/b0", "unet/resnet18"]),
        ("params", ["segformer/b0", "fpn/resnet18", "unet/resnet18"]),
        ("cost", ["fpn/resnet18", "unet/resnet18", "segformer/b0"]),
    ],
)
def test_lines_are_sorted_as_asked(sort: str, order: list[str]) -> None:
    assert models(make_board(ROWS, "val_miou", sort)) == order


def test_a_loss_leads_when_it_is_lowest() -> None:
    board = make_board([row("a", "x", 0.3), row("b", "x", 0.2), row("a", "x", 0.1, "stopped")], "val_loss")
    assert models(board) == ["b", "a"]
    assert board.lines[0].scores["x"].leads


# -- how it is printed ----------------------------------------------------------------------------------------------


def test_a_table_of_one_dataset_spells_the_counts_out() -> None:
    board = make_board([r for r in ROWS if r.dataset == "camvid"], "val_miou")
    lines = as_table(board, width=80, color=False).splitlines()
    assert lines[0].split() == ["model", "camvid", "trials", "finished", "stopped", "failed", "params", "CPU", "time"]
    assert lines[2].split() == ["fpn/resnet18", "*0.6400", "2", "2", "0", "0", "13.0M", "20", "s"]
    assert lines[3].split() == ["unet/resnet18", "0.6100", "3", "1", "1", "1", "14.3M", "3.0", "min"]


def test_a_table_of_several_datasets_has_counts_in_the_cells_and_says_why_a_cell_is_empty() -> None:
    text = as_table(make_board(ROWS, "val_miou"), width=80, color=False)
    assert "0.6100 3/1/1" in text
    assert "*0.6400 2/2/0" in text
    assert "- (1 failed, 1 infeasible)" in text
    assert "val_miou of the best finished trial at its best epoch, * highest" in text


def test_a_cell_whose_trials_all_broke_a_constraint_says_which() -> None:
    big = [row("fpn/b7", "camvid", None, "infeasible", stop_reason=f"params_m {n} is above max 30") for n in (66, 67)]
    board = make_board([*ROWS, *big], "val_miou")
    assert board.warnings == ("fpn/b7 on camvid: all 2 trials are infeasible (last: params_m 66 is above max 30)",)
    alone = as_table(make_board([ROWS[0], *big], "val_miou"), width=120, color=False)
    assert "- (2 infeasible)" in alone
    assert alone.splitlines()[0].split()[:6] == ["model", "camvid", "trials", "finished", "stopped", "failed"]
    assert "infeasible" in alone.splitlines()[0]
    assert "infeasible" not in as_table(make_board([ROWS[0]], "val_miou"), width=120, color=False)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("datasets", [1, 3, 12])
def test_a_table_never_exceeds_the_terminal_nor_cuts_a_value(width: int, datasets: int) -> None:
    rows = [
        row(f"unetplusplus/tu-convnext_tiny_{m}", f"dataset-with-a-long-name-{d}", 0.1234 + m / 100 + d / 1000)
        for d in range(datasets)
        for m in range(3)
    ]
    text = as_table(make_board(rows, "val_miou"), width=width, color=False)
    assert max(map(len, text.splitlines())) <= width
    for r in rows:
        assert f"{r.value:.4f}" in text
        assert r.model in text


def test_a_leader_is_bold_only_where_there_are_colors() -> None:
    board = make_board(ROWS, "val_miou")
    assert "\x1b[" in as_table(board, width=80, color=True)
    assert "\x1b[" not in as_table(board, width=80, color=False)


def test_markdown_has_a_row_a_model_and_escapes_what_would_break_it() -> None:
    lines = as_markdown(make_board([*ROWS, row("a|b", "camvid", 0.1)], "val_miou")).splitlines()
    assert lines[0] == "| model | camvid | streets | mean | rank | params | CPU time |"
    assert lines[1] == "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    assert any(line.startswith("| a\\|b | 0.1000 1/1/0 | - |") for line in lines)


def test_csv_and_json_hold_every_cell_unrounded() -> None:
    board = make_board([row("a, b", "x", 0.123456789), row("c", "y", None, "failed")], "val_miou")
    table = list(csv.DictReader(io.StringIO(as_csv(board))))
    assert [(r["model"], r["dataset"], r["val_miou"]) for r in table] == [
        ("a, b", "x", "0.123456789"),
        ("a, b", "y", ""),
        ("c", "x", ""),
        ("c", "y", ""),
    ]
    found = json.loads(as_json(board))
    assert found["cells"][0]["val_miou"] == 0.123456789
    assert found["cells"][3]["failed"] == 1
    assert found["datasets"] == ["x", "y"]


@pytest.mark.parametrize(("seconds", "text"), [(42, "42 s"), (600, "10.0 min"), (36_000, "10.0 h")])
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# -- read from a store ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> str:
    """Two sweeps in one store: `alpha-1` on day and night, `beta-1` on day, judged by another metric."""
    folder = tmp_path_factory.mktemp("store")
    uri = resolve_uri("sqlite:///mlflow.db", folder)
    shutil.copy(empty_store, folder)
    record(
        folder / "sweeps" / "alpha-1",
        uri,
        [
            (a_config("001", "day", "unet"), [0.5, 0.3], "finished"),
            (a_config("002", "day", "unet"), [0.9], "stopped"),
            (a_config("003", "day", "fpn"), [0.4, 0.6], "finished"),
            (a_config("004", "night", "unet"), [0.2, 0.25], "finished"),
            (a_config("005", "night", "fpn"), [], "failed"),
        ],
    )
    objective = Objective(metric="val_dice", mode="max")
    record(
        folder / "sweeps" / "beta-1",
        uri,
        [(a_config("001", "day", "linknet", objective=objective), [0.7, 0.65], "finished")],
    )
    return uri


@pytest.fixture
def segsweep(store: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: CliRunner().invoke(cli, [*arguments, "--tracking-uri", store])


def uid_of(uri: str, name: str) -> str:
    (found,) = [sweep.uid for sweep in Reader(uri).sweeps() if sweep.name == name]
    return found


def test_rows_carry_the_contract(store: str) -> None:
    rows = {r.trial_id: r for r in Reader(store).trials(sweep_uid=uid_of(store, "alpha-1"))}
    assert set(rows) == {"001", "002", "003", "004", "005"}
    first = rows["001"]
    assert (first.value, first.best_epoch, first.status, first.cpu_s) == (0.5, 1, "finished", 60.0)
    assert (first.architecture, first.encoder, first.checkpoint) == ("unet", "resnet18", "trials/001")
    assert first.config == a_config("001", "day", "unet")
    assert first.params["lr"] == "1e-05"
    assert (rows["005"].value, rows["005"].stop_reason) == (None, "because")


def test_of_two_sweeps_on_the_same_data_nothing_is_pointed_out(store: str) -> None:
    assert read_board(store).warnings == ()


def test_filters_leave_only_what_was_asked_for(store: str) -> None:
    reader = Reader(store)
    assert sorted(sweep.name for sweep in reader.sweeps()) == ["alpha-1", "beta-1"]
    assert {r.trial_id for r in reader.trials(dataset="night")} == {"004", "005"}
    assert reader.trials(dataset="it's") == []
    assert reader.trials(kind="confirm") == []


def test_many_pages_are_read_to_the_end(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segsweep.orchestrator.tracking.reading.client_store.PAGE", 2)
    assert len(Reader(store).trials()) == 6


@pytest.mark.parametrize(
    ("metric", "value"),
    [("val_miou", 0.6), ("val_dice", 0.4), ("val_iou/car", 0.3), ("epoch_s", 30.0), ("params_m", 14.3)],
)
def test_any_metric_is_read_at_the_best_epoch_of_the_objective(store: str, metric: str, value: float) -> None:
    rows = {r.trial_id: r for r in Reader(store).trials(sweep_uid=uid_of(store, "alpha-1"), metric=metric)}
    assert rows["003"].value == pytest.approx(value)
    if metric == "val_iou/car":
        assert rows["001"].value == pytest.approx(0.25)  # epoch 1, though the last epoch says 0.15


def test_one_board_covers_several_sweeps(store: str) -> None:
    board = read_board(store)
    assert models(board) == ["unet/resnet18", "linknet/resnet18", "fpn/resnet18"]
    assert board.metric == "val_miou"
    assert board.datasets == ("day", "night")
    assert models(read_board(store, dataset="day")) == ["linknet/resnet18", "fpn/resnet18", "unet/resnet18"]


def test_a_sweep_is_judged_by_its_own_objective(store: str) -> None:
    board = read_board(store, sweep="beta-1")
    assert board.metric == "val_dice"
    assert board.lines[0].scores["day"].value == pytest.approx(0.35)


# -- the commands ---------------------------------------------------------------------------------------------------


def test_leaderboard_prints_a_table_that_fits(segsweep: Callable[..., Result]) -> None:
    result = segsweep("leaderboard", "alpha-1")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[2].split()[:4] == ["unet/resnet18", "0.5000", "2/1/0", "*0.2500"]
    assert lines[3].split()[:6] == ["fpn/resnet18", "*0.6000", "1/1/0", "-", "(1", "failed)"]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "json", "html"])
def test_every_format_is_printed(segsweep: Callable[..., Result], form: str) -> None:
    result = segsweep("leaderboard", "--format", form, "--sort", "params", "--metric", "val_dice", "--dataset", "day")
    assert result.exit_code == 0, result.output
    assert "linknet/resnet18" in result.output
    assert "night" not in result.output


WRONG = [
    (("leaderboard", "alpha-2"), "SWEEP alpha-2: is not known. Did you mean 'alpha-1'?"),
    (("leaderboard", "--dataset", "dax"), "--dataset dax: is not known. Did you mean 'day'?"),
    (("leaderboard", "--metric", "val_mio"), "Did you mean 'val_miou'?"),
    (("leaderboard", "--sort", "parms"), "Did you mean 'params'?"),
    (("best", "--dataset", "dax"), "Did you mean 'day'?"),
    (("best", "--dataset", "day", "--model", "unet/resnet81"), "Did you mean 'unet/resnet18'?"),
    (("best", "--dataset", "day", "--model", "unnet"), "Did you mean 'unet/resnet18'?"),
    (("leaderboard", "--external-dataset", "day=D"), "name the file with --external FILE"),
    (("best", "--dataset", "night", "--model", "fpn/resnet18"), "no trial has finished there"),
    (("best", "beta-1", "--dataset", "night"), "--dataset night: is not known"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_unknown_names_are_answered_with_known_ones(
    segsweep: Callable[..., Result], arguments: tuple[str, ...], message: str
) -> None:
    error = segsweep(*arguments).exception
    assert isinstance(error, InputError)
    assert message in str(error)


def test_a_store_without_a_sweep_says_what_to_run(empty_store: Path) -> None:
    with pytest.raises(InputError, match="run `segsweep launch FILE`"):
        read_board(f"sqlite:///{empty_store}")


def test_best_prints_a_search_space_that_runs_just_that_trial(segsweep: Callable[..., Result]) -> None:
    result = segsweep("best", "alpha-1", "--dataset", "day")
    assert result.exit_code == 0, result.output
    assert "# val_miou: 0.6\n" in result.output
    assert "# trial: 003\n" in result.output
    assert "# checkpoint: trials/003\n" in result.output
    assert "models:\n- {architecture: fpn, encoder: resnet18}\n" in result.output
    plan = plan_of(result.output)
    assert plan.trials == 1
    assert plan.combinations[0].config("003", {}) == a_config("003", "day", "fpn")


def test_best_as_json_has_run_and_search_space(segsweep: Callable[..., Result], store: str) -> None:
    found = json.loads(segsweep("best", "--dataset", "day", "--json").output)
    assert (found["sweep"], found["model"], found["val_miou"]) == (
        "beta-1",
        "linknet/resnet18",
        0.65,
    )  # at its own best epoch
    assert found["run_id"] == winner(store, dataset="day")[0].run_id
    assert found["search_space"]["trials"] == 1


FULL = a_config(
    "001",
    "night",
    "unet",
    patience=4,
    accumulation=2,
    clip_norm=0.5,
    ema=0.99,
    precision="bf16",
    channels_last=True,
    compile=True,
    steps_per_epoch=250,
    objective=Objective(metric="val_loss", mode="min"),
    evaluation=Evaluation(method="sliding_window", window=(32, 24), overlap=0.5, scales=(0.5, 1.0), boundary=True),
    loss=Entry(type="focal", name="yes", options={"gamma": 2.5}),
    lr_schedule=Entry(type="cosine", name="null", options={"warmup_epochs": 1.0}),
)


def test_a_recipe_survives_yaml_and_planning_whatever_it_holds() -> None:
    text = as_yaml(single_point(FULL), ["comment"])
    plan = plan_of(text)
    assert plan.combinations[0].config("001", {}) == FULL
    assert text.startswith("# comment\n")
