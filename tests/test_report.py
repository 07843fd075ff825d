"""`segsweep report`: what the page says, what it cannot say, and that no name gets out of its quotes."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import plotly.graph_objects
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from report_sweeps import HOSTILE, SCRIPTED, simulated, trained

from segsweep.orchestrator.board.confirmed import Confirmations, Confirmed, Tie
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.errors import ExitCode, InputError
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.report.contents import Code, Legend, Pictures, Plot, Section, Table, Text
from segsweep.orchestrator.report.data import Examples, ReportData, Trial
from segsweep.orchestrator.report.figures import SHORT, broken, tall
from segsweep.orchestrator.report.gathering import gather
from segsweep.orchestrator.report.making import make
from segsweep.orchestrator.report.page import as_html, sections
from segsweep.orchestrator.report.sections import (
    answer,
    classes,
    confirmation,
    confusions,
    cost,
    curves,
    datasets,
    images,
    importance,
    leaderboard,
    pareto,
    reproduction,
)
from segsweep.orchestrator.watching import status
from segsweep.orchestrator.watching.view import last_words
from segsweep.trainables.scoring.confusions import Confusions, load_confusions, sparse

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # MLflow's, SQLite's
RED = (255, 0, 0)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    return trained(tmp_path_factory.mktemp("real"), empty_store)


@pytest.fixture(scope="module")
def data(real: Path) -> ReportData:
    return gather(real)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    """A scripted sweep of 80 trials, with names that would like to be HTML."""
    return gather(simulated(tmp_path_factory.mktemp("hostile")))


def texts(section: Section) -> str:
    return "\n".join(block.text for block in section.blocks if isinstance(block, Text))


def plots(section: Section) -> list[Plot]:
    return section.plots


class Tags(HTMLParser):
    """Counts tags, and collects what they point at."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


# -- the page -------------------------------------------------------------------------------------------------------


def test_the_page_has_every_section_and_points_nowhere_outside(data: ReportData) -> None:
    parts = sections(data)
    tags = Tags(page := as_html(data, parts))
    assert [part.id for part in parts][:3] == ["answer", "leaderboard", "confirmation"]
    assert tags.count["section"] == len(parts) == 13
    drawn = [plot.name for part in parts for plot in part.plots]
    assert len(set(drawn)) == len(drawn) >= 10
    assert tags.count["script"] == len(drawn) + 2  # a plot's data each, the library, and what draws
    assert {address.partition(":")[0] for address in tags.addresses if not address.startswith("#")} == {"data"}
    assert len(page) < 15e6


def objections(figure: dict[str, Any]) -> str:
    """What plotly says against it, unknown properties included."""
    try:
        plotly.graph_objects.Figure(figure)
    except ValueError as error:
        return str(error)
    return ""


def test_plotly_knows_every_property_of_every_figure(data: ReportData, hostile: ReportData) -> None:
    for part in (*sections(data), *sections(hostile)):
        for plot in part.plots:
            assert objections(plot.figure) == "", plot.name
    assert "'colour'" in objections({"data": [{"type": "scatter", "colour": "red"}]})


def test_no_name_becomes_a_tag(hostile: ReportData) -> None:
    parts = sections(hostile)
    tags = Tags(page := as_html(hostile, parts))
    assert HOSTILE not in page
    assert "b" not in tags.count
    assert tags.count["script"] == sum(len(part.plots) for part in parts) + 2
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    names = {trace["name"] for plot in plots(curves.section(hostile)) for trace in plot.traces}
    assert names == {"&lt;script&gt;alert(1)&lt;/script&gt;", "&lt;/script&gt;&lt;b&gt;&amp;amp;"}  # plotly reads HTML


def test_the_command_writes_the_page_and_stores_it_beside_the_run(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["report", str(real), "-o", "a/b.html", "--no-images", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (tmp_path / "a/b.html").stat().st_size == told["bytes"]
    client = MlflowClient(f"sqlite:///{real.parents[1]}/mlflow.db")
    stored = {file.path for file in client.list_artifacts(told["mlflow"], "report")}
    assert stored == {"report/figures", "report/report.html"}
    assert len(client.list_artifacts(told["mlflow"], "report/figures")) == told["plots"]


def test_an_mlflow_that_does_not_answer_is_told_and_changes_nothing(real: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    shutil.copy(real / "journal.jsonl", folder)
    ledger = json.loads((real / "tracking.json").read_text()) | {"uri": "http://127.0.0.1:1"}
    (folder / "tracking.json").write_text(json.dumps(ledger))
    made = make(folder, tmp_path / "x.html")
    assert (made.run, made.file.is_file()) == ("", True)
    assert "MLflow did not take the report" in made.problems[0]
    (folder / "tracking.json").unlink()
    assert "segsweep sync" in make(folder, tmp_path / "y.html").problems[0]


def test_a_page_that_cannot_be_written_is_an_input_error(real: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="name another file"):
        make(real, tmp_path / "file/x.html", images=False, mlflow=False)


# -- the answer -----------------------------------------------------------------------------------------------------


def confirmed(data: ReportData, dataset: str, *, tie: bool) -> ReportData:
    """The data with two confirmed rows, the second 3 points behind."""
    first, second = sorted(data.models)
    rows = []
    for place, (model, value) in enumerate(((first, 0.60), (second, 0.57)), start=1):
        places = range(1, 3) if tie else range(place, place + 1)
        known = {"sweep": "s", "trial": "001", "metric": "test_miou", "seeds": 3, "searched": 0.65, "fresh": 0.61}
        rows.append(Confirmed(dataset, model, value=value, low=value - 0.05, high=value + 0.05, ranks=places, **known))
    ties = (Tie(dataset, first, second, 0.03, 0.04, 9, None),) if tie else ()
    return replace(data, board=replace(data.board, confirmed=Confirmations(tuple(rows), ties)))


def test_a_search_alone_is_said_to_be_no_proof(data: ReportData, hostile: ReportData) -> None:
    trials = tuple(trial for trial in data.trials if not trial.confirms)
    searched = replace(data, trials=trials, board=replace(data.board, confirmed=Confirmations()))
    first, second = searched.winners("streets")
    said = texts(answer.section(searched)).splitlines()[0]
    gap = 100 * ((first.best or 0) - (second.best or 0))
    assert said.startswith(f"On streets, {first.cell.model} has the highest mIoU (validation), {first.best:.4f}")
    assert f"{gap:.1f} points ahead of {second.cell.model}. This is not confirmed: the best of 4 trials" in said
    assert "segsweep confirm real" in said
    assert f", level with {hostile.winners('day')[1].cell.model}. This is not" in texts(answer.section(hostile))
    assert "Nothing is confirmed" in texts(confirmation.section(hostile))
    assert not plots(confirmation.section(hostile))


def test_a_confirmed_win_is_said_to_be_sure_and_a_tie_is_not(hostile: ReportData) -> None:
    sure = texts(answer.section(confirmed(hostile, "day", tie=False))).splitlines()
    assert "reaches mIoU (test) 0.6000 (mean of 3 fresh seeds, 95 % interval 0.5500 to 0.6500), 3.0 points" in sure[0]
    assert "It is better than every other confirmed model" in sure[0]
    assert "not confirmed" in sure[1]  # night
    tied = texts(answer.section(confirmed(hostile, "day", tie=True))).splitlines()
    assert (
        f"But that is no sure win: by paired tests it cannot be told apart from {sorted(hostile.models)[1]}." in tied[0]
    )


def test_intervals_are_drawn_as_they_are_and_ties_told(hostile: ReportData) -> None:
    section = confirmation.section(confirmed(hostile, "day", tie=True))
    (plot,) = plots(section)
    assert plot.traces[0]["x"] == [0.6, 0.57]
    assert plot.traces[0]["error_x"]["arrayminus"] == pytest.approx([0.05, 0.05])
    assert plot.traces[1]["x"] == [0.65, 0.65]
    assert "cannot be told apart (0.0300 +- 0.0400); 9 seeds each would" in texts(section)


def test_a_really_confirmed_sweep_has_an_interval_for_each_model(data: ReportData) -> None:
    (plot,) = plots(confirmation.section(data))
    assert len(plot.traces[0]["x"]) == 2
    assert min(plot.traces[0]["error_x"]["array"]) > 0


# -- what is missing ------------------------------------------------------------------------------------------------


def never_finishes(assignment: Assignment, epoch: int) -> None:
    if epoch == 3:
        raise ValueError("crashed")


def test_a_sweep_without_finished_trial_says_so_in_every_section(tmp_path: Path) -> None:
    data = gather(simulated(tmp_path, mishap=never_finishes))
    said = texts(answer.section(data))
    assert "On day, no trial has finished yet (" in said
    assert "failed), so there is no answer." in said
    assert as_html(data, sections(data))


def test_nothing_trained_is_an_input_error(tmp_path: Path) -> None:
    def broken(assignment: Assignment, epoch: int) -> None:
        raise ValueError("crashed")

    with pytest.raises(InputError, match="none has trained an epoch yet; look at `segsweep status`"):
        gather(simulated(tmp_path, mishap=broken))


def test_without_checkpoint_or_matrices_the_pictures_are_left_out_with_the_reason(real: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(real, copy)
    lines = (copy / "journal.jsonl").read_text().replace(str(real), str(tmp_path / "elsewhere"))
    (copy / "journal.jsonl").write_text(lines)  # as if another machine had trained it
    for path in copy.glob("trials/*/best.pt"):
        path.unlink()
    data = gather(copy)
    assert "the checkpoint of trial" in texts(images.section(data))
    assert len(plots(confusions.section(data))) == 1
    for path in copy.glob("trials/*/*.npz"):
        path.unlink()
    data = gather(copy)
    assert "confusion matrices of single images are not here" in texts(images.section(data))
    assert "the matrices are not here" in texts(confusions.section(data))
    assert any("intervals" in warning for warning in data.board.confirmed.warnings)


def test_data_that_are_gone_leave_out_the_pictures_alone(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segsweep.orchestrator.report import examples
    from segsweep.trainables.components import DataError

    def gone(trial: object) -> None:
        raise DataError("/data/streets: no such folder")

    monkeypatch.setattr(examples, "_samples", gone)
    assert "cannot be shown: /data/streets: no such folder" in texts(images.section(gather(real)))


def test_one_class_alone_cannot_be_confused(data: ReportData) -> None:
    one = Confusions(("a",), ("road",), 1, (sparse(np.array([[7]])),))
    alone = replace(data, confusions=dict.fromkeys(data.confusions, one))
    assert "there is one class only" in texts(confusions.section(alone))


# -- numbers --------------------------------------------------------------------------------------------------------


def test_the_worst_images_are_shown_with_exactly_the_errors_that_were_counted(real: Path, data: ReportData) -> None:
    found = data.examples["streets"]
    assert isinstance(found, Examples)
    stored = load_confusions(real / "trials" / found.trial / "confusions.npz")
    scores = []
    for one in (*found.worst, *reversed(found.best)):
        matrix = stored.matrix(stored.ids.index(one.id))
        red = (one.errors == RED).all(axis=2).sum()
        assert red == matrix.sum() - np.trace(matrix)
        scores.append(one.miou)
    assert scores == sorted(scores)
    assert (len(found.worst), len(found.best)) == (3, 2)
    (pictures,) = (block for block in images.section(data).blocks if isinstance(block, Pictures))
    assert [len(uris) for _, uris in pictures.rows] == [4] * 5


def test_rows_of_confusions_are_shares_of_the_truth_and_the_worst_come_first() -> None:
    total = np.array([[6, 3, 1], [0, 0, 0], [8, 0, 2]])
    assert confusions.shares(total)[0].tolist() == pytest.approx([0.6, 0.3, 0.1])
    assert math.isnan(confusions.shares(total)[1, 0])
    named = confusions.worst(("a", "b", "c"), total)
    assert [(one.truth, one.taken_for, one.share) for one in named] == [
        ("c", "a", 0.8),
        ("a", "b", 0.3),
        ("a", "c", 0.1),
    ]


@pytest.mark.parametrize("by", list(pareto.PRICES))
def test_the_plot_of_a_price_has_the_numbers_and_the_front_that_pareto_prints(
    real: Path, data: ReportData, by: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path))
    uri = f"sqlite:///{real.parents[1]}/mlflow.db"
    done = CliRunner().invoke(cli, ["pareto", "--by", by, "--tracking-uri", uri, "--json"])
    assert done.exit_code == 0, done.output
    (table,) = json.loads(done.stdout)
    printed = {row["model"]: (row[by], row["value"]) for row in table["rows"]}
    line, *marks = next(plot for plot in plots(pareto.section(data)) if plot.name == f"pareto-streets-{by}").traces
    assert len(printed) == 2
    assert {mark["name"]: (*mark["x"], *mark["y"]) for mark in marks} == printed
    assert list(zip(line["x"], line["y"], strict=True)) == [
        printed[row["model"]] for row in table["rows"] if row["front"]
    ]
    assert {(row["metric"], row["confirmed"]) for row in table["rows"]} == {("test_miou", "yes")}


def test_latency_is_the_least_of_all_trials_of_a_network_its_repeats_too(data: ReportData) -> None:
    known: dict[str, list[float]] = {}
    for trial in data.trials:
        known.setdefault(trial.cell.model, []).append(float(trial.facts["latency_ms"]))
    plot = next(plot for plot in plots(pareto.section(data)) if plot.name == "pareto-streets-latency_ms")
    assert {mark["name"]: mark["x"] for mark in plot.traces[1:]} == {name: [min(ms)] for name, ms in known.items()}


def test_only_those_that_are_not_confirmed_are_open_where_others_are(data: ReportData, hostile: ReportData) -> None:
    (first, _) = data.board.confirmed.rows
    for rows, opened in (((first,), {False, True}), (data.board.confirmed.rows, {False}), ((), {False})):
        one = replace(data, board=replace(data.board, confirmed=Confirmations(rows)))
        marks = plots(pareto.section(one))[0].traces[1:]
        assert {mark["marker"]["symbol"].endswith("-open") for mark in marks} == opened


def test_the_ledger_sums_to_all_that_was_spent(data: ReportData, hostile: ReportData) -> None:
    for each in (data, hostile):
        assert sum(cost.ledger(each.trials).values()) == pytest.approx(sum(trial.device_s for trial in each.trials))
    trial = replace(data.trials[0], status="finished", seconds=10.0, redone_s=4.0, device_s=20.0)
    found = cost.ledger([trial, replace(trial, status="failed", redone_s=0.0), replace(trial, confirms="001")])
    assert {part: value for part, value in found.items() if value} == {
        "useful": 12.0,
        "confirming": 12.0,
        "failed": 20.0,
        "redone": 16.0,
    }


def test_what_decides_the_score_is_found_important(hostile: ReportData) -> None:
    """A scripted trial's value depends on its learning rate; weight decay and model change nothing."""
    for plot in plots(importance.section(hostile)):
        for trace in plot.traces:
            assert max(zip(trace["x"], trace["y"], strict=True))[1] == "learning rate"
            assert sum(trace["x"]) == pytest.approx(100, abs=0.1)


def test_too_few_trials_say_nothing_of_importance(data: ReportData) -> None:
    assert "4 trials with a value are too few to say" in texts(importance.section(data))


def test_colours_of_the_heat_map_go_from_worst_to_best_of_each_dataset(data: ReportData, hostile: ReportData) -> None:
    (plot,) = plots(leaderboard.section(data))
    assert sorted(row[0] for row in plot.traces[0]["z"]) == [0.0, 1.0]
    (plot,) = plots(leaderboard.section(hostile))
    assert plot.traces[0]["z"] == [[1.0, 1.0], [1.0, 1.0]]  # both models begin with the same values, which are best
    (table,) = (block for block in leaderboard.section(hostile).blocks if isinstance(block, Table))
    assert {row[0] for row in table.rows} == set(hostile.models)


def test_curves_show_every_trial_and_the_rungs_that_stopped_some(hostile: ReportData) -> None:
    for dataset, plot in zip(hostile.datasets, plots(curves.section(hostile)), strict=True):
        lines = [trace for trace in plot.traces if trace["mode"] == "lines"]
        ids = {id_ for trace in lines for id_ in trace["text"]}
        assert ids == {f"#{trial.id}" for trial in hostile.searched(dataset)}
        rungs = {trial.stop.rung for trial in hostile.searched(dataset) if trial.stop}
        assert {shape["x0"] for shape in plot.layout["shapes"]} == rungs != set()


@pytest.mark.parametrize(("epochs", "ticks"), [(1, [1]), (3, [1, 2, 3]), (30, [5, 10, 15, 20, 25, 30])])
def test_curves_begin_at_epoch_1_and_have_ticks_at_whole_epochs(
    hostile: ReportData, epochs: int, ticks: list[int]
) -> None:
    trials = tuple(replace(trial, curve=(0.1,) * epochs) for trial in hostile.searched("day"))
    x = plots(curves.section(replace(hostile, trials=trials)))[0].layout["xaxis"]
    low, high = x["range"]
    assert 0 < low < 1 <= epochs < high < epochs + 1
    first, step = x["tick0"], x["dtick"]
    assert [tick for tick in range(first % step, epochs + 1, step) if low <= tick <= high] == ticks


def test_a_class_that_is_black_is_not_painted_and_the_legend_says_so(
    real: Path, data: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segsweep.orchestrator.board.trained import Trained
    from segsweep.orchestrator.report import examples

    won = data.winners("streets")[0]
    model = examples.model_of(Trained(real / "trials" / won.id / "best.pt"), "cpu")
    black = replace(model, card=replace(model.card, colors=((8, 0, 16), *model.card.colors[1:])))
    monkeypatch.setattr(examples, "model_of", lambda *_: black)
    found = gather(real).examples["streets"]
    assert isinstance(found, Examples)
    (one, *_), road = found.worst, 0
    _, truth = examples._samples(won)[one.id].read()
    np.testing.assert_array_equal(one.truth[truth == road], one.image[truth == road])
    assert (one.truth != one.image)[truth == 2].any()
    legend = next(block for block in images.section(replace(data, examples={"streets": found})).blocks[::-1])
    assert isinstance(legend, Legend)
    assert [name for name, _, mark in legend.entries if mark == "□"] == ["flat (black: not painted)"]
    assert len(legend.entries) == 8


def test_every_part_names_the_run_that_best_and_predict_take(data: ReportData, real: Path) -> None:
    """Both models are confirmed by two seeds each: by hand, the best mean, and of its seeds the best."""
    seeds: dict[str, list[Trial]] = {}
    for trial in data.trials:
        if trial.confirms:
            seeds.setdefault(trial.cell.model, []).append(trial)
    means = {model: fmean(one.best or 0 for one in each) for model, each in seeds.items()}
    model = max(means, key=lambda name: means[name])
    won = max(seeds[model], key=lambda one: one.best or 0)
    assert [len(each) for each in seeds.values()] == [2, 2]
    assert data.winners("streets")[0] is won
    assert f"trial {won.id} (confirms {won.confirms})" in texts(classes.section(data))
    assert f"streets: {model}, trial {won.id}" in texts(images.section(data))
    assert plots(confusions.section(data))[0].title == f"streets: {model}, trial {won.id}"
    np.testing.assert_array_equal(
        data.confusions[won.cell].total(), load_confusions(real / f"trials/{won.id}/confusions.npz").total()
    )
    (table,) = (block for block in leaderboard.section(data).blocks if isinstance(block, Table))
    assert (model, f"*{means[model]:.4f}") in {row[:2] for row in table.rows}
    again = next(
        block for block in reproduction.section(data).blocks if isinstance(block, Code) and "alone" in block.summary
    )
    assert f"real-1:{won.id}`" in again.summary
    assert f"confirmed, mean of 2 fresh seeds of trial {won.confirms}" in again.summary


def test_last_words_and_status_name_the_confirmed_winner(data: ReportData, real: Path) -> None:
    won = data.standings("streets")[0]
    said = f"streets: {won.trial.cell.model} best, val_miou {won.value:.4f} (confirmed, mean of 2 fresh seeds of trial"
    assert said in last_words(SweepState.load(real / "journal.jsonl"), ExitCode.DONE, real)
    lines = list(status.as_lines(status.facts(real)))
    assert any(said in line for line in lines)
    assert sum("search's best 0." in line for line in lines) == 2


def test_no_empty_heat_map_is_drawn_before_a_trial_has_finished(hostile: ReportData) -> None:
    trials = tuple(replace(trial, status="stopped") for trial in hostile.trials)
    assert not plots(leaderboard.section(replace(hostile, trials=trials)))


def test_a_trial_of_one_epoch_is_a_mark_since_no_line_has_one_point(hostile: ReportData) -> None:
    trials = tuple(replace(trial, curve=trial.curve[:1], stop=None) for trial in hostile.searched("day"))
    (plot, *_) = plots(curves.section(replace(hostile, trials=trials)))
    marks = [text for trace in plot.traces if trace["mode"] == "markers" for text in trace["text"]]
    assert sorted(mark.partition(" ")[0] for mark in marks) == sorted(f"#{trial.id}" for trial in trials)


def test_long_names_are_broken_where_they_have_a_joint() -> None:
    assert broken("deeplabv3plus/tu-mobilenetv3_small_050") == "deeplabv3plus/<br>tu-mobilenetv3_<br>small_050"
    assert broken("dsb2018_nuclei", SHORT) == "dsb2018_<br>nuclei"
    assert broken("pascal_voc_2012_augmented", SHORT) == "pascal_<br>voc_2012_<br>augmented"
    assert broken("withoutanyjointatall/a<b", SHORT) == "withoutanyjointatall/<br>a&lt;b"


def test_rows_with_names_on_two_lines_are_as_much_higher() -> None:
    one, two = "unet/resnet18", "unetplusplus/efficientnet-b0"
    assert [broken(name).count("<br>") for name in (one, two)] == [0, 1]
    assert tall([broken(two)] * 9) - tall([broken(one)] * 9) >= 9 * 16  # px of a line


def test_the_report_names_the_test_images_that_confirmation_was_scored_on(data: ReportData) -> None:
    (known,) = {trial.facts["test_fingerprint"] for trial in data.trials if trial.confirms}
    (row,) = next(block for block in datasets.section(data).blocks if isinstance(block, Table)).rows
    assert row[-2:] == (data.trials[0].facts["data_fingerprint"], known)
    rows = [row for block in reproduction.section(data).blocks if isinstance(block, Table) for row in block.rows]
    assert ("test fingerprint", f"streets/test:{known}") in rows


def test_how_to_reproduce_says_what_confirms(data: ReportData) -> None:
    assert data.spec.confirm is not None
    first = next(block for block in reproduction.section(data).blocks if isinstance(block, Code))
    assert first.text.startswith("segsweep launch sweep.yaml  # confirms the winners, too")
    apart = replace(data, spec=data.spec.model_copy(update={"confirm": None}))
    first = next(block for block in reproduction.section(apart).blocks if isinstance(block, Code))
    assert first.text.splitlines() == ["segsweep launch sweep.yaml", "segsweep confirm", "segsweep report"]


def test_a_first_on_test_images_that_is_not_the_choice_is_explained(data: ReportData) -> None:
    rows, won = data.board.confirmed.rows, data.winners("streets")[0].cell.model
    for first, explained in ((won, False), (next(row.model for row in rows if row.model != won), True)):
        ordered = tuple(sorted(rows, key=lambda row: row.model != first))
        said = texts(answer.section(replace(data, board=replace(data.board, confirmed=Confirmations(ordered)))))
        assert (f"`predict` take {won} there" in said) is explained


def test_lower_is_better_turns_the_answer_round(tmp_path: Path) -> None:
    data = gather(simulated(tmp_path, SCRIPTED + "objective: val_loss\n"))
    first, second = data.winners("day")
    assert (first.best or 0) <= (second.best or 0)
    assert "has the lowest loss (validation)" in texts(answer.section(data))
