"""Sweeps with pretrained weights: what validate warns of, what launch refuses, what MLflow tells afterwards."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file

from segsweep.orchestrator.checking.validation import Checked, check
from segsweep.orchestrator.cli import main
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.space.source import parse
from segsweep.orchestrator.tracking.reader import Reader
from segsweep.orchestrator.tracking.store import connect
from segsweep.trainables.catalog import MODELS
from segsweep.trainables.components import Task

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of MLflow

ENCODER = "encoder: tu-mobilenetv3_small_050, decoder_channels: [16, 16, 16, 16, 16]"
HEAD = """\
datasets: [{type: streets, size: [48, 80], train: 8, val: 4, test: 4}]
trials: 1
epochs: 1
batch_size: 4
image_size: [48, 80]
scheduler: fifo
"""


def space(**options: str) -> str:
    given = "".join(f", {key}: {value}" for key, value in options.items())
    return f"{HEAD}models:\n  - {{architecture: unet, {ENCODER}{given}}}\n"


def checked(text: str) -> Checked:
    return check(parse(text, "x.yaml"))


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(os.environ)
    monkeypatch.chdir(tmp_path)
    for name in ("SEGSWEEP_DATA", "SEGSWEEP_STORAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Call it with whether the hub may be asked."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return lambda online: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", not online)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"encoder_weights": "gone.pth"}, r"models\[0\]\.encoder_weights: there is no file .*/gone\.pth; put"),
        ({"weights": "gone/best.pt"}, r"models\[0\]\.weights: there is no file .*/gone/best\.pt; put"),
        (
            {"encoder_weights": "{choice: [none, ./gone]}"},
            r"encoder_weights: .*/gone holds no file of weights",
        ),
        (
            {"encoder_weights": "'package:no_such'"},
            r"no Python package 'no_such' is installed; install it",
        ),
    ],
)
def test_weights_that_are_not_there_are_missing_before_anything_starts(options: dict[str, str], named: str) -> None:
    (missing,) = checked(space(**options)).missing
    assert re.search(named, str(missing))


def test_weights_of_the_hub_are_fetched_by_launch_unless_that_is_forbidden(
    empty_cache: Callable[[bool], None], tmp_path: Path
) -> None:
    text = space(encoder_weights="somebody/tiny")
    empty_cache(True)
    found = checked(text)
    assert found.missing == ()
    assert "somebody/tiny is not in the cache yet, so `launch` will fetch it" in found.unfetched[0].message
    empty_cache(False)
    found = checked(text)
    assert found.unfetched == ()
    assert "HF_HUB_OFFLINE forbids to fetch it" in found.missing[0].message
    assert (
        f"run `hf download somebody/tiny` and copy the folder that it makes to this machine's cache, {tmp_path}/hub"
        in (found.missing[0].message)
    )
    (tmp_path / "hub/models--somebody--tiny/snapshots/1").mkdir(parents=True)
    (tmp_path / "hub/models--somebody--tiny/snapshots/1/model.safetensors").touch()
    assert (checked(text).missing, checked(text).unfetched) == ((), ())


@pytest.mark.parametrize(
    ("encoder", "repository"),
    [
        ("resnet18", "smp-hub/resnet18.imagenet"),
        ("tu-resnet18", "timm/resnet18.TAG"),
        ("tu-resnet18.a1_in1k", "timm/resnet18.a1_in1k"),
    ],
)
def test_weights_that_a_library_names_are_looked_for_under_their_repository(
    encoder: str, repository: str, empty_cache: Callable[[bool], None]
) -> None:
    empty_cache(True)
    text = HEAD + f"models: [{{architecture: fpn, encoder: {encoder}, encoder_weights: imagenet}}]\n"
    assert f"({repository}) is not in the cache" in checked(text).unfetched[0].message


def test_weights_of_a_network_and_of_its_encoder_exclude_each_other() -> None:
    with pytest.raises(InputError, match="`weights` holds the encoder as well, so `encoder_weights` have no place"):
        checked(space(weights="a.pt", encoder_weights="imagenet"))


class Done(NamedTuple):
    code: int
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["segsweep", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return Done(int(end.value.code or 0), capsys.readouterr().err)

    return run


def test_weights_of_another_encoder_are_refused_before_anything_is_written(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "x.yaml").write_text(space(encoder_weights="other.safetensors"))
    done = run("launch", "x.yaml", "--in-process")
    assert done.code == 2
    assert "x.yaml:8: models[0].encoder_weights: encoder_weights" in done.err
    assert "are of another encoder: " in done.err
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.timeout(120)
def test_mlflow_tells_the_weights_and_its_run_may_be_gone_on_from(run: Callable[..., Done], tmp_path: Path) -> None:
    component = MODELS.get("fpn")
    encoder = component.build(component.Options(encoder="tu-mobilenetv3_small_050"), Task(2, (64, 64), 2))
    save_file(
        encoder.get_submodule("network.encoder").state_dict(), tmp_path / "w.safetensors", metadata={"license": "mit"}
    )
    (tmp_path / "first.yaml").write_text(space(encoder_weights="w.safetensors"))
    assert run("launch", "first.yaml", "--in-process", "--quiet").code == 0
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    (first,) = Reader(uri).trials()
    data = connect(uri).get_run(first.run_id).data
    assert data.params["model.encoder_weights"] == data.tags["segsweep.weights_source"] == f"{tmp_path}/w.safetensors"
    assert data.tags["segsweep.weights_licence"] == "mit"
    assert len(data.tags["segsweep.weights_sha256"]) == 64

    (tmp_path / "second.yaml").write_text(space(weights=f"'run:{first.run_id}'"))
    assert run("launch", "second.yaml", "--in-process", "--quiet").code == 0
    (second, _) = Reader(uri).trials()
    data = connect(uri).get_run(second.run_id).data
    assert data.params["model.weights"] == data.tags["segsweep.weights_source"] == first.checkpoint
    assert data.tags["segsweep.weights_not_loaded"] == ""

    (tmp_path / "third.yaml").write_text(space(weights="'run:0000'"))
    done = run("launch", "third.yaml", "--in-process", "--quiet")
    assert (done.code, "third.yaml:8: models[0].weights: no run of a trial '0000'" in done.err) == (2, True)
