"""Sweeps that reports are made of: one that really trained, and scripted ones of any size and with any names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from scripted import Mishap, no_mishap, scripted

from segsweep.orchestrator.backends.simulated import Simulated
from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.record.journal import Journal, SweepCreated
from segsweep.orchestrator.space.source import parse

REAL = """
name: real
datasets: [{type: streets, size: [48, 64], train: 6, val: 6, test: 4}]
models:
  - {architecture: linknet, encoder: tu-mobilenetv3_small_050}
  - {architecture: fpn, encoder: tu-mobilenetv3_small_050}
trials: 2
epochs: 2
batch_size: 3
image_size: [48, 64]
confirm: {top: 1, seeds: 2}
"""
HOSTILE = "<script>alert(1)</script>"
SCRIPTED = """
name: scripted
datasets: [{type: streets, name: day}, {type: streets, variant: night, name: night}]
models: [{architecture: unet, name: "<script>alert(1)</script>"}, {architecture: fpn, name: "</script><b>&amp;"}]
trials: 20
epochs: 9
scheduler: {type: asha, grace: 1}
image_size: [64, 64]
"""


def trained(folder: Path, store: Path) -> Path:
    """The folder of a sweep that trained for a few seconds; store: an empty one of MLflow, that is copied."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SEGSWEEP_CACHE", str(folder / "cache"))
        shutil.copy(store, folder / "mlflow.db")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        (folder / "real.yaml").write_text(REAL)
        done = CliRunner().invoke(cli, ["launch", "real.yaml", "--in-process", "--quiet"])
    assert done.exit_code == 0, done.output
    return folder / "sweeps/real-1"


def simulated(folder: Path, space: str = SCRIPTED, mishap: Mishap = no_mishap) -> Path:
    """The folder of a sweep whose trials followed a script."""
    spec = check(parse(space, "space.yaml")).spec
    with Journal(folder / "journal.jsonl", fsync=False) as journal:
        sweep = Sweep(SweepPlan.of(spec), journal)
        told = {"spec": spec.model_dump(mode="json"), "source": space, "provenance": {"version": "0.1.0", "cpu": "<b>"}}
        sweep.record(SweepCreated(sweep=spec.name, tracking_uri="", experiment="", **told))
        Simulated(4).run(sweep, scripted(mishap))
    return folder
