"""What searcher, scheduler and journal cost a sweep of 10,000 trials: they are real, only the training is simulated.

    python benchmarks/simulation.py [--check] [--trials 10000] [--workers 16]

1. A sweep of 20 cells (TPE, the default scheduler) on workers in virtual time, its journal on disk without fsync, each
   epoch with as many metrics as a real one; and the most memory that this process ever took.
2. Taking that journal up again, as `segsweep resume` does: rungs and studies are rebuilt by reading it.
3. `segsweep status` on it.
"""

from __future__ import annotations

import argparse
import math
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segsweep.orchestrator.backends import Report
from segsweep.orchestrator.backends.simulated import Simulated
from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.record.journal import Journal, SweepCreated
from segsweep.orchestrator.space.source import parse
from segsweep.orchestrator.watching import status

RUN_BAR_S = 180.0
MEMORY_BAR_GIB = 1.0
RESUME_BAR_S = 10.0
STATUS_BAR_S = 2.0
CELLS = 20
SPACE = """
datasets:
  - {{type: streets, name: a}}
  - {{type: streets, name: b}}
  - {{type: streets, name: c}}
  - {{type: streets, name: d}}
models:
  - {{architecture: unet, encoder: resnet18}}
  - {{architecture: fpn, encoder: resnet18}}
  - {{architecture: linknet, encoder: resnet18}}
  - {{architecture: segformer, encoder: mit_b0}}
  - {{architecture: segformer, encoder: mit_b1}}
searcher: tpe
trials: {trials}
epochs: 27
batch_size: {{choice: [4, 8, 16]}}
image_size: [96, 160]
"""
NAMES = ("train_loss", "val_loss", "val_dice", *(f"val_iou/class {i}" for i in range(13)))


@dataclass(frozen=True)
class SimulatedReport:
    epoch: int
    metrics: Mapping[str, float]
    done: bool
    reason: str


class SimulatedTrial:
    """Learns as fast as its learning rate is near 1e-3; trial numbers stand for luck."""

    facts: Mapping[str, float | str] = {"params_m": 14.3, "gmacs": 2.1, "device": "none", "host": "here"}

    def __init__(self, assignment: Assignment) -> None:
        lr: Any = assignment.config.optimizer.options["lr"]
        luck = math.sin(float(assignment.trial)) / 20
        self._quality = 0.8 * math.exp(-abs(math.log10(lr / 1e-3))) + luck
        self._epochs, self._epoch = assignment.config.epochs, assignment.reported

    def step(self) -> Report:
        self._epoch += 1
        value = self._quality * (1 - 0.8**self._epoch)
        metrics = {"val_miou": value, "epoch_s": 20.0 + self._quality} | dict.fromkeys(NAMES, 1 - value)
        done = self._epoch == self._epochs
        return SimulatedReport(self._epoch, metrics, done, "epoch limit" if done else "")

    def close(self) -> None:
        """Nothing to release."""


def plan_of(trials: int) -> tuple[SweepPlan, SweepCreated]:
    text = SPACE.format(trials=max(1, trials // CELLS))
    spec = check(parse(text, "benchmark.yaml")).spec
    created = SweepCreated(
        sweep="benchmark",
        spec=spec.model_dump(mode="json"),
        source=text,
        provenance={},
        tracking_uri="sqlite:///mlflow.db",
        experiment="benchmark",
    )
    return SweepPlan.of(spec), created


def run(folder: Path, trials: int, workers: int) -> float:
    """Seconds for the whole sweep."""
    plan, created = plan_of(trials)
    backend = Simulated(workers)
    with Journal(folder / "journal.jsonl", clock=backend.clock, fsync=False) as journal:
        began = time.perf_counter()
        sweep = Sweep(plan, journal)
        sweep.record(created)
        backend.run(sweep, SimulatedTrial)
        took = time.perf_counter() - began
    assert sweep.over
    counts = Counter(trial.status for trial in sweep.state.trials.values())
    assert counts.keys() <= {"finished", "stopped"}, counts
    epochs = sum(trial.epoch for trial in sweep.state.trials.values())
    size = (folder / "journal.jsonl").stat().st_size / 2**20
    print(
        f"{plan.trials} trials in {len(plan.cells)} cells on {workers} workers: {took:.1f} s "
        f"(bar: {RUN_BAR_S:.0f} s); {counts['finished']} finished, {epochs} epochs, journal {size:.0f} MiB",
        flush=True,
    )
    return took


def resume(folder: Path, trials: int) -> float:
    """Seconds until the sweep knows what to do next."""
    plan, _ = plan_of(trials)
    began = time.perf_counter()
    with Journal(folder / "journal.jsonl") as journal:
        assert Sweep(plan, journal).over
    took = time.perf_counter() - began
    print(f"the journal taken up again: {took:.1f} s (bar: {RESUME_BAR_S:.0f} s)", flush=True)
    return took


def look(folder: Path) -> float:
    """Seconds for the facts of `segsweep status`."""
    began = time.perf_counter()
    status.facts(folder)
    took = time.perf_counter() - began
    print(f"status: {took:.2f} s (bar: {STATUS_BAR_S:.0f} s)")
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 if a bar is missed")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=16)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="segsweep-benchmark-") as name:
        folder = Path(name)
        ran = run(folder, given.trials, given.workers)
        resumed = resume(folder, given.trials)
        looked = look(folder)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB
    print(f"most memory: {memory:.2f} GiB (bar: {MEMORY_BAR_GIB:.0f} GiB)")
    bars = {
        "the sweep": ran <= RUN_BAR_S,
        "memory": memory <= MEMORY_BAR_GIB,
        "resume": resumed <= RESUME_BAR_S,
        "status": looked <= STATUS_BAR_S,
    }
    missed = [name for name, held in bars.items() if not held]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return int(given.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
