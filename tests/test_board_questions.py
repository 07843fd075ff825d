"""What a board can be asked: conditions, columns, classes, the Pareto front, two trials side by side."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from recorded_sweeps import ROWS, a_config, go_on, record, row

from segsweep.orchestrator.board.columns import FURTHER
from segsweep.orchestrator.board.conditions import Condition
from segsweep.orchestrator.board.confirmed import Confirmations, Confirmed
from segsweep.orchestrator.board.external import read_external
from segsweep.orchestrator.board.formats import as_html, as_json, as_table
from segsweep.orchestrator.board.pareto import points, tables
from segsweep.orchestrator.board.rows import make_board
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.record.journal import AttemptStarted, EpochDone, TrialCreated, TrialFacts
from segsweep.orchestrator.tracking.reader import TrialRow
from segsweep.orchestrator.tracking.store import resolve_uri
from segsweep.trainables.config import Entry
from segsweep.trainables.scoring.confusions import Confusions, save_confusions, sparse

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


def test_memory_and_licence_are_those_of_the_best_trial() -> None:
    metrics = {"latency_ms": 3.0, "peak_memory_gib": 1.5}
    best = row("a", "x", 0.5, metrics=metrics, licence="Apache-2.0")
    board = make_board([row("a", "x", 0.4, metrics={"latency_ms": 9.0, "peak_memory_gib": 1.0}), best], "val_miou")
    (line,) = board.lines
    assert (line.sizes("latency_ms"), line.sizes("peak_memory_gib"), line.licence) == ([3.0], [1.5], "Apache-2.0")


def test_latency_is_the_least_that_trials_of_one_network_measured_on_one_device() -> None:
    def timed(ms: float, value: float = 0.1, device: str = "here cuda", cpus: float = 2.0, **more: Any) -> TrialRow:
        return row("a", "x", value, metrics={"latency_ms": ms, "cpus": cpus}, device=device, **more)

    config = a_config("001", "x", "unet")
    text = config.model_dump_json()
    wide = config.model_copy(update={"image_size": (64, 128)}).model_dump_json()
    best = timed(9.0, 0.5, config_text=text)
    others = [
        timed(1.0, gmacs=1.5, config_text=text),
        timed(2.0, params_m=9.0, config_text=text),
        timed(3.0, device="there cuda", config_text=text),
        timed(4.0, cpus=8.0, config_text=text),
        timed(5.0, config_text=wide),
        timed(8.0, status="failed", config_text=text),
    ]

    def latency(*repeats: TrialRow) -> float | None:
        (line,) = make_board([best, *others], "val_miou", repeats=repeats).lines
        return line.scores["x"].size("latency_ms")

    assert latency() == 8.0
    assert latency(timed(7.0, confirms="001", config_text=text)) == 7.0
    assert latency(timed(6.0, confirms="001", gmacs=1.5, config_text=text)) == 8.0


def on(dataset: str, model: str, value: float, params_m: float, **more: Any) -> TrialRow:
    """gmacs, latency and memory are 10, 100 and 1000 times params_m."""
    metrics = {"latency_ms": 100 * params_m, "peak_memory_gib": 1000 * params_m}
    return row(model, dataset, value, params_m=params_m, gmacs=10 * params_m, metrics=metrics, **more)


OWN = [on("day", "a", 0.5, 1.0), on("day", "b", 0.6, 2.0), on("night", "a", 0.6, 3.0), on("night", "b", 0.5, 4.0)]


def test_every_cell_has_the_sizes_of_its_own_trial() -> None:
    cells = json.loads(as_json(make_board(OWN, "val_miou")))["cells"]
    names = ("params_m", "gmacs", "latency_ms", "peak_memory_gib")
    assert {(cell["model"], cell["dataset"]): tuple(cell[name] for name in names) for cell in cells} == {
        ("a", "day"): (1, 10, 100, 1000), ("a", "night"): (3, 30, 300, 3000),
        ("b", "day"): (2, 20, 200, 2000), ("b", "night"): (4, 40, 400, 4000),
    }  # fmt: skip


def test_a_column_of_all_datasets_shows_a_range_where_they_differ() -> None:
    board = make_board([*OWN, row("c", "day", 0.1, params_m=7.0), row("c", "night", 0.1, params_m=7.04)], "val_miou")
    (sizes,) = FURTHER["params"](board)
    assert dict(zip([line.model for line in board.lines], sizes.cells, strict=True)) == {
        "a": "1.0M to 3.0M", "b": "2.0M to 4.0M", "c": "7.0M",
    }  # fmt: skip


@pytest.mark.parametrize(("by", "times"), [("params_m", 1), ("gmacs", 10), ("latency_ms", 100), ("cost", 60)])
def test_the_front_of_a_dataset_is_of_what_models_cost_there(by: str, times: float) -> None:
    rows = [replace(one, cpu_s=60 * (one.params_m or 0)) for one in OWN]
    board = make_board(rows, "val_miou")
    found = {dataset: [(one.model, one.cost) for one in points(board, dataset, by)] for dataset in board.datasets}
    assert found == {
        "day": [("a", pytest.approx(1 * times)), ("b", pytest.approx(2 * times))],
        "night": [("a", pytest.approx(3 * times)), ("b", pytest.approx(4 * times))],
    }
    assert [one.front for one in points(board, "night", by)] == [True, False]


def test_a_confirmed_value_stands_at_the_cost_of_the_trial_that_was_confirmed() -> None:
    rows = [on("day", "a", 0.9, 1.0), on("day", "a", 0.8, 2.0, trial_id="002")]
    board = replace(make_board(rows, "val_miou"), confirmed=Confirmations((confirmed("002"),)))
    (one,) = points(board, "day", "params_m")
    assert (one.value, one.cost) == (0.7, 2.0)


def test_classes_are_told_at_the_best_epoch(segsweep: Callable[..., Result]) -> None:
    tables = json.loads(segsweep("leaderboard", "--per-class", "--json").output)
    assert tables[0]["title"] == "day"
    assert tables[0]["rows"] == [{"class": "car", "unet/resnet18": 0.3, "fpn/resnet18": 0.2}]


def test_a_page_of_html_stands_alone_and_escapes_names() -> None:
    text = as_html(make_board([row("<b>", "x", 0.5), row("c", "x", 0.4)], "val_miou"))
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert "<td class=best>*0.5000</td>" in text
    assert "* highest of its dataset" in text
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


def test_the_front_names_what_its_values_are_of() -> None:
    board = replace(make_board(OWN, "val_miou"), confirmed=Confirmations((confirmed("001"),)))
    day, night = tables(board, "params_m")
    assert [row[:5] for row in day.rows] == [
        ("a", "*", "yes", "test_miou", 0.7),
        ("b", "", "", "val_miou", 0.6),
    ]
    assert day.notes[1] == "confirmed values are means over fresh seeds; the others are of one seed, and flatter"
    assert {row[3] for row in night.rows} == {"val_miou"}
    both = replace(board, confirmed=Confirmations((confirmed("001"), confirmed("001", "b"))))
    assert next(tables(both, "params_m")).notes[1] == "confirmed values are means over fresh seeds"


def confirmed(trial: str, model: str = "a") -> Confirmed:
    """On day, 0.7 on the test split."""
    places: dict[str, Any] = {"low": None, "high": None, "ranks": None, "searched": 0.8, "fresh": 0.75}
    return Confirmed("day", model, "s-1", trial, "test_miou", 3, 0.7, **places)


def test_pareto_prints_a_table_for_each_dataset(segsweep: Callable[..., Result]) -> None:
    tables = json.loads(segsweep("pareto", "alpha-1", "--by", "params_m", "--json").output)
    assert [table["title"] for table in tables] == ["day", "night"]
    assert [(one["model"], one["front"], one["metric"], one["value"]) for one in tables[0]["rows"]] == [
        ("unet/resnet18", "*", "val_miou", 0.6),
        ("fpn/resnet18", "", "val_miou", 0.4),
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


def test_images_are_compared_where_their_matrices_are_kept(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: on x the first has IoUs of 8/10 and 10/12; over both images of 18/20 and 20/22."""
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    uri, perfect = f"sqlite:///{shutil.copy(empty_store, tmp_path)}", np.array([[10, 0], [0, 10]])
    record(tmp_path / "beta-1", uri, [])
    for number, first in ((1, np.array([[8, 2], [0, 10]])), (2, perfect)):
        file, trial = tmp_path / f"{number}.npz", f"{number:03}"
        with file.open("wb") as opened:
            save_confusions(opened, Confusions(("x", "y"), ("road", "car"), 1, (sparse(first), sparse(perfect))))
        go_on(
            tmp_path / "beta-1",
            1_800_000_000 + number,
            TrialCreated(trial=trial, config=a_config(trial, "day", "unet"), values={}),
            AttemptStarted(trial=trial, attempt=1, cause="new"),
            TrialFacts(trial=trial, attempt=1, facts={"confusions": str(file)}),
            EpochDone(trial=trial, attempt=1, epoch=1, metrics={"val_miou": 0.5}),
        )
    command = ["compare", "beta-1:001", "beta-1:002", "--tracking-uri", uri]
    *_, images = json.loads(CliRunner().invoke(cli, [*command, "--json"]).output)
    assert images["title"] == "val images that differ most, by mean IoU of their classes"
    assert [(row["image"], row["beta-1:001"], row["beta-1:002"], row["difference"]) for row in images["rows"]] == [
        ("x", pytest.approx((8 / 10 + 10 / 12) / 2), 1.0, pytest.approx((8 / 10 + 10 / 12) / 2 - 1)),
        ("y", 1.0, 1.0, 0.0),
    ]
    assert images["notes"][0].startswith(f"mIoU differs by {(18 / 20 + 20 / 22) / 2 - 1:+.4f} +- ")
    assert images["notes"][0].endswith(" over 2 images: no more than chance")
    lines = [line.split() for line in CliRunner().invoke(cli, command).output.splitlines()]
    assert ["x", "0.8167", "1.0000", "-0.1833"] in lines


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
    value = {"model": "DNL/R-50", "dataset": "day", "val_miou": 0.785}
    assert other == {**value, "external": True, "source": "miou of paper.csv"}
    assert next(cell["rank"] for cell in cells if cell["val_miou"] == 0.6) == 1
    for form in ("table", "markdown", "html", "csv"):
        assert "DNL/R-50" in segsweep("leaderboard", "--external", str(file), "--format", form).output
    assert "has nothing on night; it has Day, sea" in str(
        segsweep("leaderboard", "--dataset", "night", "--external", str(file)).exception
    )
    assert f"warning: --external {file} has nothing on night; it has Day, sea" in " ".join(
        segsweep("leaderboard", "--external", str(file)).output.split()
    )
    file.write_text("model,miou\na,x\n")
    assert "has no column dataset" in str(segsweep("leaderboard", "--external", str(file)).exception)
    file.write_text("model,dataset,miou\na,day,x\n")
    assert "paper.csv:2: miou: 'x' is no number" in str(segsweep("leaderboard", "--external", str(file)).exception)


def test_datasets_that_others_call_otherwise_are_matched_by_letters_or_by_name(
    segsweep: Callable[..., Result], tmp_path: Path
) -> None:
    file = tmp_path / "paper.csv"
    file.write_text("model,dataset,dice\na,DA-Y,0.5\nb,Night 2012,0.25\n")
    asked = ("leaderboard", "--metric", "val_dice", "--json", "--external", str(file))

    def external(*more: str) -> dict[str, str]:
        cells = json.loads(segsweep(*asked, *more).output)["cells"]
        return {cell["model"]: cell["dataset"] for cell in cells if cell["external"]}

    assert external() == {"a": "day"}
    assert external("--external-dataset", "night=Night 2012") == {"a": "day", "b": "night"}
    assert external("--external-dataset", "day=Night 2012") == {"b": "day"}
    assert "Did you mean 'night'?" in str(segsweep(*asked, "--external-dataset", "nigt=Night 2012").exception)
    assert "Did you mean 'Night 2012'?" in str(segsweep(*asked, "--external-dataset", "night=Nigh 2012").exception)


def test_published_results_stand_below_a_board(data_root: Path) -> None:
    """42 architectures on 17 datasets; by hand: of Cityscapes the highest mIoU is Mask2Former's 83.65."""
    found = read_external(data_root / "mmseg_results.csv", "val_miou", ["cityscapes", "camvid"])
    assert found.rows[0] == ("Mask2Former/Swin-L", "cityscapes", pytest.approx(0.8365), "miou of mmseg_results.csv")
    assert all(0.3 < row.value < 0.84 for row in found.rows)
    assert "has nothing on camvid; it has ADE20K, " in found.warnings[0]
    vessels = read_external(data_root / "mmseg_results.csv", "val_dice", ["drive"]).rows
    assert len(vessels) == 3
