"""What a board can be asked: conditions, columns, classes, the Pareto front, two trials side by side."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from test_leaderboard import ROWS, a_config, record, row

from segsweep.orchestrator.board.conditions import Condition
from segsweep.orchestrator.board.formats import as_html, as_table
from segsweep.orchestrator.board.pareto import points
from segsweep.orchestrator.board.rows import make_board
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.tracking.store import resolve_uri
from segsweep.trainables.config import Entry

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of MLflow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> str:
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(empty_store, folder)
    uri = resolve_uri("sqlite:///mlflow.db", folder)
    fast = Entry(type="adamw", name="adamw", options={"lr": 1e-2, "weight_decay": 0.01})
    trials = [
        (a_config("001", "day", "unet"), [0.5, 0.3], "finished"),
        (a_config("002", "day", "unet", optimizer=fast), [0.2, 0.6], "finished"),
        (a_config("003", "day", "fpn"), [0.4, 0.4], "finished"),
        (a_config("004", "night", "fpn"), [0.4, 0.4], "finished"),
    ]
    record(folder / "sweeps" / "alpha-1", uri, trials)  # type: ignore[arg-type]
    return uri


@pytest.fixture
def segsweep(store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path))
    return lambda *arguments: CliRunner().invoke(cli, [*arguments, "--tracking-uri", store])


@pytest.mark.parametrize(
    ("text", "params", "holds"),
    [
        ("lr<1e-3", {"lr": "1e-05"}, True),
        ("lr < 1e-3", {"lr": "0.01"}, False),
        ("lr>=0.01", {"lr": "0.01"}, True),
        ("loss=dice", {"loss": "dice"}, True),
        ("loss!=dice", {"loss": "dice"}, False),
        ("batch_size=4", {"batch_size": "4.0"}, True),
        ("lr<1", {"lr": "auto"}, False),
        ("loss!=dice", {}, False),
    ],
)
def test_conditions_compare_numbers_as_numbers_and_texts_as_texts(
    text: str, params: dict[str, str], holds: bool
) -> None:
    assert Condition.parse(text).holds(params) is holds


@pytest.mark.parametrize(("text", "says"), [("lr", "is no condition"), ("loss<dice", "'dice' is no number")])
def test_what_is_no_condition_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Condition.parse(text)


def test_a_board_of_some_trials(segsweep: Callable[..., Result]) -> None:
    def value(*arguments: str) -> float:
        cells = json.loads(segsweep("leaderboard", "--dataset", "day", "--json", *arguments).output)["cells"]
        return float(next(cell["val_miou"] for cell in cells if cell["model"] == "unet/resnet18"))

    assert value() == 0.6
    assert value("--where", "lr<1e-3") == 0.5
    assert value("--where", "lr<1e-3", "--where", "epochs=2") == 0.5
    error = segsweep("leaderboard", "--where", "lrr<1").exception
    assert "Did you mean 'lr'?" in str(error)
    assert "none has lr>5" in str(segsweep("leaderboard", "--where", "lr>5").exception)


def test_columns_are_those_asked_for(segsweep: Callable[..., Result]) -> None:
    result = segsweep("leaderboard", "--columns", "rank,gmacs,latency,memory,licence")
    assert result.output.splitlines()[0].split() == [
        "model", "day", "night", "rank", "GMACs", "ms/image", "peak", "GiB", "licence",
    ]  # fmt: skip
    assert "Did you mean 'licence'?" in str(segsweep("leaderboard", "--columns", "licens").exception)


def test_ranks_are_shared_by_equal_values_and_their_mean_needs_every_dataset() -> None:
    board = make_board([*ROWS, row("linknet/a", "camvid", 0.64)], "val_miou")
    ranks = {(line.model, d): score.rank for line in board.lines for d, score in line.scores.items()}
    assert [ranks[model, "camvid"] for model in ("fpn/resnet18", "linknet/a", "unet/resnet18", "segformer/b0")] == [
        1,
        1,
        3,
        4,
    ]
    means = {line.model: line.mean_rank(board.datasets) for line in board.lines}
    assert means == {"segformer/b0": 2.5, "unet/resnet18": 2.5, "fpn/resnet18": None, "linknet/a": None}


def test_costs_and_licence_are_those_of_the_best_trial() -> None:
    metrics = {"latency_ms": 3.0, "peak_memory_gib": 1.5}
    best = row("a", "x", 0.5, metrics=metrics, licence="Apache-2.0")
    board = make_board([row("a", "x", 0.4, metrics={"latency_ms": 9.0}), best], "val_miou")
    (line,) = board.lines
    assert (line.latency_ms, line.peak_memory_gib, line.licence) == (3.0, 1.5, "Apache-2.0")


def test_classes_are_told_at_the_best_epoch(segsweep: Callable[..., Result]) -> None:
    tables = json.loads(segsweep("leaderboard", "--per-class", "--json").output)
    assert tables[0]["title"] == "day"
    assert tables[0]["rows"] == [{"class": "car", "unet/resnet18": 0.3, "fpn/resnet18": 0.2}]


def test_a_page_of_html_stands_alone_and_escapes_names() -> None:
    text = as_html(make_board([row("<b>", "x", 0.5), row("c", "x", 0.4)], "val_miou"))
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert "<td class=best>0.5000</td>" in text
    assert "http" not in text


def test_the_front_is_what_no_other_beats() -> None:
    rows = [
        row("small", "x", 0.50, params_m=1.0),
        row("poor", "x", 0.45, params_m=2.0),
        row("twin", "x", 0.50, params_m=1.0),
        row("large", "x", 0.70, params_m=30.0),
        row("larger", "x", 0.70, params_m=60.0),
        row("unknown", "x", 0.90, params_m=None),
        row("failed", "x", None, "failed"),
    ]
    found = points(make_board(rows, "val_miou"), "x", "params_m")
    assert [(one.model, one.front) for one in found] == [
        ("small", True), ("twin", True), ("poor", False), ("large", True), ("larger", False),
    ]  # fmt: skip
    by_loss = points(
        make_board([row("a", "x", 0.2, params_m=2.0), row("b", "x", 0.3, params_m=3.0)], "val_loss"), "x", "params_m"
    )
    assert [one.front for one in by_loss] == [True, False]


def test_pareto_prints_a_table_for_each_dataset(segsweep: Callable[..., Result]) -> None:
    tables = json.loads(segsweep("pareto", "alpha-1", "--by", "params_m", "--json").output)
    assert [table["title"] for table in tables] == ["day", "night"]
    assert [(one["model"], one["front"], one["val_miou"]) for one in tables[0]["rows"]] == [
        ("unet/resnet18", "*", 0.6),
        ("fpn/resnet18", "", 0.4),
    ]
    assert "not placed, as a number is missing: fpn/resnet18" in segsweep("pareto", "--dataset", "night").output


def test_two_trials_side_by_side(segsweep: Callable[..., Result]) -> None:
    tables = {t["title"]: t for t in json.loads(segsweep("compare", "alpha-1:001", "alpha-1:002", "--json").output)}
    a, b = "alpha-1:001", "alpha-1:002"
    assert tables["configuration"]["rows"] == [{"parameter": "lr", a: "1e-05", b: "0.01"}]
    assert {"": "val_miou", a: 0.5, b: 0.6} in tables["scores"]["rows"]
    assert tables["val_miou by epoch"]["rows"] == [{"epoch": "1", a: 0.5, b: 0.2}, {"epoch": "2", a: 0.3, b: 0.6}]
    (car,) = tables["IoU of classes"]["rows"]
    assert (car[a], car[b], car["difference"]) == (0.25, 0.3, pytest.approx(-0.05))
    assert tables["images"]["notes"] == ["matrices of single images are missing"]


def test_trials_that_do_not_compare_are_refused(segsweep: Callable[..., Result]) -> None:
    assert "given twice" in str(segsweep("compare", "alpha-1:001", "alpha-1:1").exception)
    assert "their scores do not compare" in str(segsweep("compare", "alpha-1:003", "alpha-1:004").exception)


def test_a_table_has_the_columns_that_fit_the_number_of_datasets() -> None:
    several = as_table(make_board(ROWS, "val_miou"), width=120, color=False).splitlines()[0].split()
    assert several == ["model", "camvid", "streets", "mean", "rank", "params", "CPU", "time"]


def test_results_of_others_are_shown_and_never_ranked(segsweep: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "paper.csv"
    file.write_text("architecture,backbone,dataset,miou\nDNL,R-50,Day,77.5\nDNL,R-50,Day,78.5\nANN,,Day,\nX,,sea,9\n")
    cells = json.loads(segsweep("leaderboard", "--external", str(file), "--json").output)["cells"]
    (other,) = [cell for cell in cells if cell["external"]]
    assert other == {"model": "DNL/R-50", "dataset": "day", "val_miou": 0.785, "external": True}
    assert next(cell["rank"] for cell in cells if cell["val_miou"] == 0.6) == 1
    for form in ("table", "markdown", "html", "csv"):
        assert "DNL/R-50" in segsweep("leaderboard", "--external", str(file), "--format", form).output
    assert "has nothing on night; it has Day, sea" in str(
        segsweep("leaderboard", "--dataset", "night", "--external", str(file)).exception
    )
    file.write_text("model,miou\na,x\n")
    assert "has no column dataset" in str(segsweep("leaderboard", "--external", str(file)).exception)
    file.write_text("model,dataset,miou\na,day,x\n")
    assert "paper.csv:2: miou: 'x' is no number" in str(segsweep("leaderboard", "--external", str(file)).exception)
