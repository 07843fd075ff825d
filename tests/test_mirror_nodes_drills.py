"""A sweep that is kept in a bucket, on a cluster whose nodes share no disk: a node is lost, then the driver's disk."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hosts import descendants
from s3_endpoint import KEYS, s3_endpoint, use_endpoint
from waiting import wait_until

from segsweep.orchestrator.launching.ray_session import free_port
from segsweep.orchestrator.mirroring.places import working_storage
from segsweep.orchestrator.record.journal import AttemptEnded, AttemptStarted, EpochDone, TrialCreated, read_events
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.tracking.store import connect
from segsweep.trainables.addresses import Address
from segsweep.trainables.scoring.confusions import load_confusions

pytestmark = [
    pytest.mark.drill,
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]

SPACE = """
name: nodes
datasets: [{type: streets, size: [48, 80], train: 16, val: 4, test: 4}]
models: [{architecture: linknet, encoder: tu-mobilenetv3_small_050, encoder_weights: none}]
trials: 6
epochs: 6
batch_size: 4
image_size: [48, 80]
scheduler: {type: asha, grace: 2, reduction_factor: 2}
min_finished: 2
resources: {gpus: 0}
"""
BIN = Path(sys.executable).parent
SEGSWEEP = (sys.executable, "-c", "from segsweep.orchestrator.cli import main; main()")
ADDRESS = "s3://sweeps/all/nodes-1"
E = TypeVar("E", AttemptEnded, AttemptStarted, EpochDone, TrialCreated)


class Node:
    """A node of the cluster, with a disk of its own."""

    def __init__(self, name: str, folder: Path, *arguments: str, environment: Mapping[str, str]) -> None:
        self.cache, log = folder / name, folder / f"{name}.log"
        with log.open("w") as out:
            self._ray = subprocess.Popen(
                [BIN / "ray", "start", "--block", "--node-ip-address=127.0.0.1", "--num-gpus=0", *arguments],
                env={**environment, "SEGSWEEP_CACHE": str(self.cache), "RAY_USAGE_STATS_ENABLED": "0"},
                stdout=out,
                stderr=out,
            )
        wait_until(lambda: "Ray runtime started" in log.read_text(), f"{name} is up", 120)

    def lose(self) -> None:
        """With everything that runs on it, at once."""
        for pid in [self._ray.pid, *descendants(self._ray.pid)]:
            os.kill(pid, signal.SIGKILL)
        self._ray.wait()

    def trains(self) -> set[str]:
        return {path.name for path in self.cache.glob("scratch/*/trials/*")}


@contextmanager
def cluster(folder: Path, environment: Mapping[str, str]) -> Iterator[tuple[str, Node, Node]]:
    """Its address, and two nodes that train. environment: of all nodes."""
    port = free_port()
    at = f"127.0.0.1:{port}"
    with ExitStack() as stack:
        short = stack.enter_context(tempfile.TemporaryDirectory())  # the path of a socket has at most 107 characters
        parts = ["--head", f"--port={port}", f"--temp-dir={short}", "--include-dashboard=false", "--num-cpus=0"]
        head = Node("head", folder, *parts, environment=environment)
        stack.callback(head.lose)
        nodes = []
        for name in ("left", "right"):
            nodes.append(Node(name, folder, f"--address={at}", "--num-cpus=1", environment=environment))
            stack.callback(lambda node=nodes[-1]: node._ray.poll() is None and node.lose())
        yield (at, *nodes)


def test_neither_a_lost_node_nor_a_lost_driver_costs_an_epoch_that_was_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")  # else a loopback address can have no second node
    (tmp_path / "nodes.yaml").write_text(SPACE)
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "driver"))
    folder = working_storage(Address.of(ADDRESS).parent) / "nodes-1"
    journal = folder / "journal.jsonl"
    with s3_endpoint("sweeps") as s3:
        use_endpoint(s3, monkeypatch)
        with cluster(tmp_path, os.environ) as (at, left, right):
            launch = ["launch", "nodes.yaml", "--address", at, "--storage", "s3://sweeps/all", "--quiet"]
            with subprocess.Popen([*SEGSWEEP, *launch], cwd=tmp_path) as driver:
                try:
                    wait_until(lambda: len(of(journal, EpochDone)) >= 4 and bool(left.trains()), "four epochs", 300)
                    left.lose()
                    wait_until(lambda: any(e.lost == "worker" for e in of(journal, AttemptEnded)), "the loss", 240)
                    lost = [e.trial for e in of(journal, AttemptEnded) if e.lost == "worker"]
                    wait_until(lambda: all(goes_on(journal, id_) for id_ in lost), "it goes on elsewhere", 300)
                    wait_until(lambda: b'"epoch":2' in sent(s3), "the journal follows", 60)
                finally:
                    driver.kill()
            before = at_address(s3)
            shutil.rmtree(tmp_path / "driver")
            subprocess.run(
                [*SEGSWEEP, "resume", ADDRESS, "--address", at, "--quiet"], cwd=tmp_path, check=True, timeout=600
            )
            assert not right.trains()  # nothing is left on a node's disk

    state = SweepState.load(journal)
    assert len(state.trials) == 6
    assert all(trial.failures == 0 for trial in state.trials.values())
    epochs = of(journal, EpochDone)
    for id_, trial in state.trials.items():
        assert [e.epoch for e in epochs if e.trial == id_ and not e.redone] == list(range(1, trial.epoch + 1))
    assert not [e for e in epochs if e.redone]
    causes = Counter(e.cause for e in of(journal, AttemptStarted))
    print(f"{len(epochs)} epochs, attempts {dict(causes)}, lost {lost}, objects at the driver's loss {before}")
    assert causes["resume"] >= 1
    _check_matrices(state, f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)


def test_nodes_without_credentials_end_the_sweep_with_the_reason_and_it_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "driver"))
    (tmp_path / "nodes.yaml").write_text(SPACE)
    with s3_endpoint("sweeps") as s3:
        use_endpoint(s3, monkeypatch)
        for key in KEYS:  # Ray Tune would hand them on
            monkeypatch.delenv(key.upper())
        without = dict(os.environ)
        lines = ["[default]", *(f"{key} = {value}" for key, value in KEYS.items())]
        (tmp_path / "credentials").write_text("\n".join(lines))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        with cluster(tmp_path, without) as (at, *_):
            launch = ["launch", "nodes.yaml", "--address", at, "--storage", "s3://sweeps/all", "--quiet"]
            ended = subprocess.run(
                [*SEGSWEEP, *launch], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
            )
    assert ended.returncode == 130, ended.stderr
    assert f"node {platform.node()}: {ADDRESS}: this machine has no credentials for it" in ended.stderr
    assert f"segsweep resume {ADDRESS}" in ended.stderr
    trials = SweepState.load(working_storage(Address.of(ADDRESS).parent) / "nodes-1/journal.jsonl").trials.values()
    assert {(trial.status, trial.failures, trial.epoch) for trial in trials} == {("interrupted", 0, 0)}


def of(journal: Path, kind: type[E]) -> list[E]:
    return [event for event, _ in read_events(journal) if isinstance(event, kind)] if journal.exists() else []


def goes_on(journal: Path, trial: str) -> bool:
    """An attempt after the lost one has told of an epoch."""
    return any(e.trial == trial and e.attempt > 1 for e in of(journal, EpochDone))


def sent(s3: Any) -> bytes:
    return bytes(s3.get_object(Bucket="sweeps", Key="all/nodes-1/journal/00000")["Body"].read())


def at_address(s3: Any) -> int:
    return int(s3.list_objects_v2(Bucket="sweeps", Prefix="all/nodes-1/trials/")["KeyCount"])


def _check_matrices(state: SweepState, uri: str, folder: Path) -> None:
    """Those of the best epoch of every trial."""
    client = connect(uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()], "tags.`segsweep.kind` = 'trial'")
    assert {run.data.tags["segsweep.trial_id"] for run in runs} == set(state.trials)
    for run in runs:
        trial = state.trials[run.data.tags["segsweep.trial_id"]]
        file = client.download_artifacts(run.info.run_id, "confusions.npz", str(folder))
        assert load_confusions(Path(file)).epoch == trial.best_epoch
