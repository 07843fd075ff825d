"""How long the leaderboard takes over many runs: nothing read before, nothing changed, and 1,000 new runs to read.

    python benchmarks/leaderboard.py [--runs 10000] [--server] [--keep FOLDER]

Each figure is a fresh process, Python's start included. `--server` asks an `mlflow server` on loopback instead of the
SQLite file. Making the store takes a few minutes; `--keep` leaves it in a folder, and finds it there again.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    AttemptStarted,
    DriverStarted,
    EpochDone,
    Journal,
    SweepCreated,
    TrialCreated,
    TrialFacts,
)
from segsweep.orchestrator.tracking.writer import sync
from segsweep.trainables.config import Entry, TrialConfig

SWEEP = 1000  # trials
EPOCHS = 3
CLASSES = 19
NAMES = ("unet", "fpn", "pan", "linknet", "deeplabv3", "segformer", "upernet", "dpt")


def a_config(number: int) -> TrialConfig:
    model = NAMES[number % len(NAMES)]
    entries: dict[str, Any] = {
        "dataset": Entry(type="streets", name=f"streets-{number % 3}"),
        "model": Entry(type="unet", name=f"{model}/resnet18", options={"encoder": "resnet18"}),
        "loss": Entry(type="dice", name="dice"),
        "optimizer": Entry(type="adamw", name="adamw", options={"lr": 1e-5 * (1 + number), "weight_decay": 0.01}),
        "lr_schedule": Entry(type="poly", name="poly"),
        "augmentation": Entry(type="light", name="light"),
    }
    return TrialConfig(
        trial_id=f"{number:04}", epochs=EPOCHS, batch_size=4, image_size=(96, 128), seed=number, **entries
    )


def a_sweep(folder: Path, uri: str, number: int) -> None:
    folder.mkdir(parents=True)
    with Journal(folder / "journal.jsonl", fsync=False) as journal:
        names = {"sweep": folder.name, "source": f"# {number}", "tracking_uri": uri, "experiment": "segsweep"}
        journal.append(SweepCreated(spec={}, provenance={}, **names))
        journal.append(DriverStarted(pid=1, host="here", backend="in_process"))
        for trial in range(SWEEP):
            config = a_config(trial)
            id_ = config.trial_id
            journal.append(TrialCreated(trial=id_, config=config, values={}))
            journal.append(AttemptStarted(trial=id_, attempt=1, cause="new"))
            facts: dict[str, float | str] = {
                "params_m": 14.3,
                "gmacs": 5.0,
                "latency_ms": 3.0,
                "checkpoint": f"t/{id_}",
            }
            journal.append(TrialFacts(trial=id_, attempt=1, facts=facts))
            for epoch in range(1, EPOCHS + 1):
                scores = {f"val_iou/class {c}": (trial * 7 + c) % 100 / 100 for c in range(CLASSES)}
                means = {"val_miou": (trial + epoch) % 1000 / 1000, "val_dice": 0.5, "epoch_s": 3.0, "train_loss": 0.3}
                journal.append(EpochDone(trial=id_, attempt=1, epoch=epoch, metrics={**means, **scores}))
            journal.append(AttemptEnded(trial=id_, attempt=1, status="finished", reason="epoch limit"))
    sync(folder)


def timed(uri: str, cache: Path) -> tuple[float, float]:
    """Seconds by the clock, and of CPU: on a busy machine the latter says more."""
    environment = {**os.environ, "SEGSWEEP_CACHE": str(cache)}
    command = [sys.executable, "-c", "from segsweep.orchestrator.cli import main; main()", "leaderboard"]
    began, used = time.perf_counter(), _cpu_s()
    subprocess.run([*command, "--tracking-uri", uri], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began, _cpu_s() - used


def _cpu_s() -> float:
    """Of the processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def told(what: str, seconds: tuple[float, float]) -> None:
    print(f"{what:40}{seconds[0]:8.2f} s, {seconds[1]:.2f} s of CPU")


@contextmanager
def server(database: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "mlflow"), "server", "--backend-store-uri", database, "--workers", "1"]
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--server", action="store_true")
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = (given.keep or Path(temporary)).resolve()
        database = f"sqlite:///{home}/mlflow.db"
        for number in range(given.runs // SWEEP):
            if not (home / f"sweep-{number}").exists():
                a_sweep(home / f"sweep-{number}", database, number)
        if given.server:
            with server(database) as address:
                measure(address, home, database, given.runs)
        else:
            measure(database, home, database, given.runs)


def measure(uri: str, home: Path, database: str, runs: int) -> None:
    with tempfile.TemporaryDirectory() as cache:
        told(f"{runs} runs, nothing read before", timed(uri, Path(cache)))
        told(f"{runs} runs, nothing changed", min(timed(uri, Path(cache)) for _ in range(5)))
        number = len(list(home.glob("sweep-*")))
        a_sweep(home / f"sweep-{number}", database, number)
        told(f"{runs} runs and {SWEEP} new", timed(uri, Path(cache)))


if __name__ == "__main__":
    main()
