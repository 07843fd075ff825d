"""`segsweep reproduce`, `best` of a confirmed sweep, and the registry, on a sweep that was run and confirmed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from scripted import plan_of

from segsweep.orchestrator import provenance
from segsweep.orchestrator.board.trained import Trained
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.exporting.origin import Origin, origin
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.trainables.prediction.predictor import Predictor
from segsweep.trainables.prediction.trained_model import load_trained

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of MLflow

SPACE = """
name: small
datasets: [{type: streets, size: [48, 64], train: 6, val: 3, test: 2}]
models: [{architecture: linknet, encoder: tu-mobilenetv3_small_050}]
trials: 2
epochs: 2
batch_size: 3
image_size: [48, 64]
scheduler: fifo
"""


def segsweep(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder, entered, with a sweep `small-1` that was confirmed."""
    folder, before = tmp_path_factory.mktemp("home"), dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("SEGSWEEP_CACHE", str(folder / "cache"))
        patch.delenv("SEGSWEEP_DATA", raising=False)
        Path("small.yaml").write_text(SPACE)
        assert segsweep("launch", "small.yaml", "--in-process", "--quiet").exit_code == 0
        assert segsweep("confirm", "small-1", "--top", "2", "--seeds", "2", "--in-process", "--quiet").exit_code == 0
        yield folder
    os.environ.clear()
    os.environ.update(before)


def trials(sweep: str) -> dict[str, TrialState]:
    return SweepState.load(Path("sweeps", sweep, "journal.jsonl")).trials


def test_what_reproduce_prints_gives_the_same_score_to_the_last_digit(home: Path) -> None:
    printed = segsweep("reproduce", "small-1:002")
    assert printed.exit_code == 0, printed.output
    Path("again.yaml").write_text(printed.stdout)
    assert segsweep("launch", "again.yaml", "--in-process", "--quiet", "--name", "again").exit_code == 0
    (again,), before = trials("again").values(), trials("small-1")["002"]
    assert [each["val_miou"] for each in again.metrics] == [each["val_miou"] for each in before.metrics]
    assert again.facts["data_fingerprint"] == before.facts["data_fingerprint"]
    assert f"# data_fingerprint: {before.facts['data_fingerprint']}\n" in printed.stdout


def test_reproduce_says_what_the_trial_was_made_with(home: Path) -> None:
    found = json.loads(segsweep("reproduce", "small-1:001", "--json").stdout)
    assert found["run"] == "small-1:001"
    assert found["val_miou"] == trials("small-1")["001"].best
    assert f"torch {torch.__version__.partition('+')[0]}" in found["versions"]
    assert found["command"].startswith("segsweep")  # of sys.argv, which pytest has emptied in its workers
    assert found["differences"] == []
    plan = plan_of(json.dumps(found["search_space"]))
    assert plan.combinations[0].config("001", {}) == trials("small-1")["001"].config


def test_a_trial_that_only_mlflow_knows_has_the_same_origin(home: Path) -> None:
    folder = home / "sweeps/small-1/trials/001"
    here = origin(Trained(folder / "best.pt"), None)
    state = SweepState.load(home / "sweeps/small-1/journal.jsonl")
    found = json.loads(segsweep("best", "--json").stdout)
    assert state.created is not None
    away = origin(Trained(Path("/nowhere/best.pt"), "small-1", found["sweep_uid"], "001"), None)
    assert away.config == here.config
    assert away.comments == here.comments


def test_the_help_shows_its_example_line_by_line() -> None:
    said = segsweep("reproduce", "--help").output
    assert "\\b" not in said
    assert "> again.yaml\n  segsweep launch again.yaml\n" in said


def test_other_versions_and_another_commit_are_told(home: Path) -> None:
    config = trials("small-1")["001"].config
    commits = {"git_commit": "abc", "segsweep_commit": "d"}
    then = Origin(config, "", {"versions.torch": "1.0", "versions.gone-library": "2", **commits})
    torch_differs, own_differs, commit_differs = then.differences()
    assert own_differs.startswith("segsweep's commit was d, here it is ")
    assert torch_differs.startswith("torch was 1.0, here it is 2.")
    assert commit_differs == "the folder's commit was abc, here it is unknown: this folder is no repository"


def git(folder: Path, *arguments: str) -> str:
    named = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    return subprocess.run(["git", *named, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_the_commit_of_segsweep_is_not_that_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's copy in somebody's repository, as a virtual environment there has it, has no commit."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "theirs")
    theirs = git(tmp_path, "rev-parse", "HEAD").strip()
    monkeypatch.chdir(tmp_path)
    known = provenance.provenance(Capacity(cpus=1, gpus=0))
    assert known["git_commit"] == theirs
    assert known["segsweep_commit"] != theirs
    copy = tmp_path / "provenance.py"
    copy.touch()
    monkeypatch.setattr(provenance, "__file__", str(copy))
    assert provenance.source_commit() == ""
    git(tmp_path, "add", "provenance.py")
    assert provenance.source_commit() == f"{theirs}+changes"


def test_what_has_no_commit_is_said_to_have_none(home: Path) -> None:
    found = json.loads(segsweep("reproduce", "small-1:001", "--json").stdout)
    assert found["git_commit"] == "none: it was in no git repository"
    older = Origin(trials("small-1")["001"].config, "", {"git_commit": "abc"}).comments
    assert older["git_commit"] == "abc"
    assert older["segsweep_commit"].startswith("none recorded")


def test_a_checkpoint_without_its_journal_still_gives_its_configuration(home: Path, tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes((home / "sweeps/small-1/trials/001/best.pt").read_bytes())
    printed = segsweep("reproduce", tmp_path / "best.pt")
    plan = plan_of(printed.stdout)
    assert plan.combinations[0].config("001", {}) == trials("small-1")["001"].config
    (tmp_path / "best.pt").write_bytes(b"nothing")
    assert isinstance(segsweep("reproduce", tmp_path / "best.pt").exception, InputError)


def test_all_commands_take_the_same_run_of_a_confirmed_sweep(home: Path) -> None:
    state = SweepState.load(home / "sweeps/small-1/journal.jsonl")

    def mean(trial: TrialState) -> float:
        return float(np.mean([repeat.best or 0.0 for repeat in state.confirmations(trial.id)]))

    best = max(state.searched, key=mean)
    seed = max(state.confirmations(best.id), key=lambda repeat: repeat.best or 0.0)
    found = json.loads(segsweep("best", "small-1", "--json").stdout)
    assert (found["trial"], found["val_miou"]) == (seed.id, seed.best)
    assert found["chosen"].startswith(f"confirms trial {best.id} (mean val_miou {mean(best):.4f} over 2 fresh seeds")
    assert found["confirmed"].startswith("test_miou ")
    assert "mean of 2 fresh seeds, 95 % interval " in found["confirmed"]
    again = json.loads(segsweep("reproduce", "small-1", "--json").stdout)
    assert (again["run"], again["chosen"]) == (f"small-1:{seed.id}", found["chosen"])
    assert again["search_space"] == found["search_space"]
    Image.new("RGB", (64, 48)).save("image.png")
    shown = segsweep("predict", "small-1", "image.png", "-o", "masks").stdout
    assert shown.startswith(f"small-1:{seed.id}: {found['chosen']}\n")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_a_registered_model_is_loaded_by_its_name(home: Path) -> None:
    import mlflow
    import pandas as pd

    for version in ("1", "2"):
        done = segsweep("export", "small-1:001", "-o", home / "net", "--formats", "mlflow", "--register", "streets")
        assert done.exit_code == 0, done.output
        assert done.output.endswith(f"registered: models:/streets/{version}\n")
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    served = mlflow.pyfunc.load_model("models:/streets/2")
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    model = load_trained(home / "sweeps/small-1/trials/001/best.pt", torch.device("cpu"))
    (expected,) = Predictor(model).labels([image])
    assert np.array_equal(served.predict(pd.DataFrame({"image": [image]}))["mask"][0], expected)
    card = (home / "net/README.md").read_text()
    assert "mean of 2 fresh seeds of this configuration" in card
    assert "95 % interval" in card


def test_a_file_alone_cannot_be_registered(home: Path) -> None:
    folder = home / "sweeps/small-1/trials/001"
    done = segsweep("export", folder, "-o", home / "file", "--formats", "mlflow", "--register", "streets")
    assert isinstance(done.exception, InputError)
    assert "--register streets: the trial's run in MLflow keeps it; name the trial as SWEEP:TRIAL" in str(
        done.exception
    )
