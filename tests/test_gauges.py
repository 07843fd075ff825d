"""What Prometheus reads of a running sweep, from the agent that Ray has on every node."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import scripted as script
from scripted import plan_of, scripted

from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.record.journal import Journal

SPACE = """
datasets: [streets]
models: [{architecture: unet, encoder: resnet18}]
trials: 3
epochs: 4
image_size: [48, 80]
scheduler: fifo
"""
WAITS_S = 90  # Ray's agent collects every few seconds


@pytest.fixture
def metrics(tmp_path: Path) -> Iterator[str]:
    """The address of the agent's page."""
    from segsweep.orchestrator.launching.ray_session import ray_session

    with ray_session(tmp_path, cpus=2, gpus=0):
        import ray
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(script)
        (node,) = ray.nodes()
        yield f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"


@pytest.mark.ray
@pytest.mark.slow
def test_trials_epochs_and_best_values_are_exported(metrics: str, tmp_path: Path) -> None:
    from segsweep.orchestrator.backends.ray_tune import RayTune

    with Journal(tmp_path / "journal.jsonl", fsync=False) as journal:
        sweep = Sweep(plan_of(SPACE), journal)
        RayTune().run(sweep, scripted())
    with Journal(tmp_path / "journal.jsonl", fsync=False) as journal:  # a later driver, whose one trial is no better
        sweep = Sweep(plan_of(SPACE.replace("trials: 3", "trials: 4")), journal)
        RayTune().run(sweep, scripted(lambda assignment, epoch: 0.01))
    found: dict[str, float] = {}
    deadline = time.monotonic() + WAITS_S
    while time.monotonic() < deadline and found.get("epochs") != 16:
        time.sleep(1)
        with urlopen(Request(metrics), timeout=10) as page:
            lines = page.read().decode().splitlines()
        found = {key: value for line in lines for key, value in gauges(line)}
    best = max(trial.best or 0.0 for trial in sweep.state.trials.values())
    assert found["epochs"] == 16
    assert found["trials finished"] == 4
    assert found["trials running"] == 0
    assert found["best streets unet/resnet18"] == pytest.approx(best)


def gauges(line: str) -> Iterator[tuple[str, float]]:
    """ "trials finished", 3.0; nothing for a line of anybody else's."""
    found = re.match(r"ray_segsweep_(\w+)\{(.*)\} (\S+)$", line)
    if found is None or found[1] == "objective":
        return
    labels = dict(re.findall(r'(\w+)="([^"]*)"', found[2]))
    shown = [labels[key] for key in ("status", "dataset", "model") if key in labels]
    yield " ".join([found[1], *shown]), float(found[3])
