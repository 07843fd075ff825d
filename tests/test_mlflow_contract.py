"""What docs/mlflow.md promises to those who query MLflow, against what a real sweep left there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.tracking.records import metric_name

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of MLflow

PAGE = Path(__file__).parents[1] / "docs/mlflow.md"
SPACE = """
name: small
datasets: [{type: streets, size: [48, 64], train: 6, val: 3, test: 2}]
models: [{architecture: linknet, encoder: tu-mobilenetv3_small_050}]
trials: 1
epochs: 2
batch_size: 3
image_size: [48, 64]
confirm: {top: 1, seeds: 2}
"""


def section(title: str) -> str:
    return PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def named(text: str) -> set[str]:
    """The names in backticks that open the rows of tables."""
    return {name for row in re.findall(r"^\| (`.+?) \|", text, re.M) for name in re.findall(r"`([^`]+)`", row)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Of one sweep, by kind: MLflow's own run objects."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("sweep")
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("SEGSWEEP_CACHE", str(folder / "cache"))
        Path("small.yaml").write_text(SPACE)
        done = CliRunner().invoke(cli, ["launch", "small.yaml", "--in-process", "--quiet"])
        assert done.exit_code == 0, done.output
    client = MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'segsweep'")
    found: dict[str, list[Any]] = {}
    for run in client.search_runs([experiment.experiment_id]):
        found.setdefault(run.data.tags["segsweep.kind"], []).append(run)
    return found


def test_the_run_of_a_sweep_has_the_best_value_of_the_search(runs: dict[str, list[Any]]) -> None:
    (trial,), (sweep,) = runs["trial"], runs["sweep"]
    assert sweep.data.metrics == {"best_val_miou/streets": trial.data.metrics["best_val_miou"]}


def tags(run: Any) -> set[str]:
    ours = {name for name in run.data.tags if name.startswith("segsweep.")}
    return {re.sub(r"\.\d+$", "", name) for name in ours}  # long ones come in parts


SOMETIMES = {  # where weights were loaded, a checkpoint was damaged, a batch did not fit, processes shared a trial
    "segsweep.damaged_checkpoint",
    "segsweep.loss_of",
    "segsweep.smaller_batches_for",
    "segsweep.weights_file",
    "segsweep.weights_licence",
    "segsweep.weights_not_loaded",
    "segsweep.weights_sha256",
    "segsweep.weights_source",
}


def test_the_run_of_a_sweep_has_the_tags_of_the_page_and_no_others(runs: dict[str, list[Any]]) -> None:
    (sweep,) = runs["sweep"]
    sometimes = {"segsweep.extended"}
    assert tags(sweep) | sometimes == named(section("The run of a sweep"))


def test_the_run_of_a_trial_has_the_tags_of_the_page_and_no_others(runs: dict[str, list[Any]]) -> None:
    page = section("The run of a trial")
    always = named(page.split("### Tags")[1].split("### ")[0])
    for run in (*runs["trial"], *runs["confirm"]):
        assert tags(run) <= always
    assert {name for run in (*runs["trial"], *runs["confirm"]) for name in tags(run)} | SOMETIMES == always


def test_the_run_of_a_trial_has_the_parameters_of_the_page(runs: dict[str, list[Any]]) -> None:
    page = named(section("The run of a trial").split("### Parameters")[1].split("### ")[0])
    for run in (*runs["trial"], *runs["confirm"]):
        assert page <= set(run.data.params)
        assert all("." in name for name in set(run.data.params) - page), set(run.data.params) - page


def test_the_run_of_a_trial_has_the_metrics_of_the_page(runs: dict[str, list[Any]]) -> None:
    page = named(section("The run of a trial").split("### Metrics")[1])
    found = set()
    for run in (*runs["trial"], *runs["confirm"]):
        found |= {re.sub(r"_iou/.*", "_iou/CLASS", metric_name(key)) for key in run.data.metrics}
    assert found ^ page <= {"gpu_s", "cpu_s", "micro_batch"}, found ^ page
