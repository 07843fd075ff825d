"""`segsweep submit` on a real Ray with a dashboard and a token, and what it says where there is none."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from waiting import wait_until

from segsweep.orchestrator.launching.ray_session import free_port
from segsweep.orchestrator.record.state import SweepState

BIN = Path(sys.executable).parent
PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "ray-client-server-port")
SPACE = """
datasets: [{type: streets, size: [48, 80], train: 8, val: 4, test: 4}]
models: [{architecture: unet, encoder: tu-mobilenetv3_small_050, decoder_channels: [16, 16, 16, 16, 16]}]
losses: [mine]
plugins: [own_loss]
trials: 2
epochs: 1
batch_size: 4
image_size: [48, 80]
scheduler: fifo
resources: {gpus: 0}
"""


@dataclass(frozen=True)
class Cluster:
    address: str
    token: str
    shared: Path  # the folder where its jobs run
    environment: Mapping[str, str]  # of its user, who has no token


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Ray of its own on loopback, beside any other on this machine; it ends with the tests."""
    shared, home = tmp_path_factory.mktemp("shared"), tmp_path_factory.mktemp("home")
    user = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "SEGSWEEP_", "MLFLOW_"))}
    user |= {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(home), "OMP_NUM_THREADS": "1"}
    token, ports, log = secrets.token_hex(32), {name: free_port() for name in PORTS}, shared / "ray.log"
    with (
        tempfile.TemporaryDirectory() as short,
        log.open("w") as out,
    ):  # the path of a socket has at most 107 characters
        here = [
            "--head",
            "--block",
            "--node-ip-address=127.0.0.1",
            "--num-cpus=2",
            "--num-gpus=0",
            f"--temp-dir={short}",
        ]
        ray = subprocess.Popen(
            [str(BIN / "ray"), "start", *here, *(f"--{name}={port}" for name, port in ports.items())],
            env={**user, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"},
            stdout=out,
            stderr=out,
        )
        try:
            wait_until(lambda: "Ray runtime started" in log.read_text(), "Ray has started", 120)
            yield Cluster(f"http://127.0.0.1:{ports['dashboard-port']}", token, shared, user)
        finally:
            ray.terminate()
            ray.wait(60)


def submit(folder: Path, environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "segsweep"), "submit", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """A search space and the plug-in that it names."""
    (tmp_path / "own space.yaml").write_text(SPACE)
    (tmp_path / "own_loss.py").write_text(
        "from segsweep.trainables.catalog import LOSSES\n"
        "from segsweep.trainables.losses import cross_entropy\n"
        "LOSSES.register('mine', cross_entropy)\n"
    )
    return tmp_path


@pytest.mark.ray
@pytest.mark.timeout(280)
def test_a_submitted_sweep_runs_on_the_cluster_with_its_plugin(cluster: Cluster, space: Path) -> None:
    token = space / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text(cluster.token)
    user = {**cluster.environment, "HOME": str(space / "home"), "PYTHONPATH": str(space)}
    where = ["--address", cluster.address, "--folder", str(cluster.shared)]
    done = submit(space, user, "own space.yaml", *where, "--name", "ours", "--set", "epochs=2", "--follow")
    assert done.returncode == 0, done.stdout + done.stderr
    state = SweepState.load(cluster.shared / "sweeps" / "ours" / "journal.jsonl")
    assert [(trial.status, trial.epoch) for trial in state.trials.values()] == [("finished", 2)] * 2
    assert (cluster.shared / "mlflow.db").exists()
    assert "unet/tu-mobilenetv3_small_050 best" in done.stdout
    assert cluster.token not in done.stdout + done.stderr
    assert "ray job logs --follow" in done.stderr
    refused = submit(space, user, "own space.yaml", *where, "--name", "ours", "--follow")
    assert refused.returncode == 2  # of the job: the name is taken
    assert "--name ours" in refused.stdout


@pytest.mark.ray
@pytest.mark.timeout(120)
def test_a_token_that_is_missing_or_wrong_is_asked_for(cluster: Cluster, space: Path) -> None:
    user = {**cluster.environment, "PYTHONPATH": str(space)}
    for token, message in (({}, "asks for a token"), ({"RAY_AUTH_TOKEN": "0" * 64}, "does not take this token")):
        done = submit(space, {**user, **token}, "own space.yaml", "--address", cluster.address)
        assert done.returncode == 2
        assert f"error: --address {cluster.address}: the cluster {message}; put the cluster's into" in done.stderr


def test_the_file_is_checked_before_anything_is_asked_of_the_cluster(space: Path) -> None:
    (space / "own space.yaml").write_text(SPACE.replace("unet", "unett").replace("gpus: 0", "gpus: 0, cpu: 1"))
    done = submit(space, {**os.environ, "PYTHONPATH": str(space)}, "own space.yaml", "--address", "http://nowhere:1")
    assert done.returncode == 2
    assert "Did you mean 'unet'" in done.stderr
    assert "nowhere" not in done.stderr


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:8265", "must be the address of Ray's dashboard, such as http://HEAD:8265"),
        ("ray://127.0.0.1:10001", "must be the address of Ray's dashboard, such as http://HEAD:8265"),
        ("http://127.0.0.1:1", "nothing answers there (Connection refused)"),
    ],
)
def test_an_address_where_no_dashboard_can_be_is_refused(space: Path, address: str, message: str) -> None:
    user = {**os.environ, "PYTHONPATH": str(space)}
    done = submit(space, user, "own space.yaml", "--address", address)
    assert (done.returncode, done.stderr.startswith(f"error: --address {address}: {message}")) == (2, True), done.stderr


class NoRay(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_another_server_is_no_cluster(space: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), NoRay) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        done = submit(space, {**os.environ, "PYTHONPATH": str(space)}, "own space.yaml", "--address", address)
        server.shutdown()
    assert (done.returncode, "no dashboard of Ray answers there" in done.stderr) == (2, True), done.stderr


def test_resources_that_depend_on_this_machine_are_refused(space: Path) -> None:
    text = SPACE.replace("resources: {gpus: 0}\n", "")
    (space / "own space.yaml").write_text(text)
    user = {**os.environ, "PYTHONPATH": str(space)}
    done = submit(space, user, "own space.yaml", "--address", "http://127.0.0.1:1", "--json")
    assert (done.returncode, "say how many GPUs" in done.stderr) == (2, True), done.stderr
