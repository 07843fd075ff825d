"""What starting the command costs: CPU time of `segsweep --help` and `validate` beside a bare Python, in one run.

    python benchmarks/cli.py [--check] [--runs N]

CPU time of the process (user + system), median over the runs, which take turns so that a busy machine hits all of them.
Bytecode is kept in a temporary folder and warm, as after an ordinary installation.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SEGSWEEP = str(Path(sys.executable).with_name("segsweep"))


@dataclass(frozen=True)
class Case:
    name: str
    command: tuple[str, ...]
    bar: float | None = None  # CPU seconds that must not be reached


CASES = (
    Case("python -c pass", (sys.executable, "-c", "pass")),
    Case("segsweep --help", (SEGSWEEP, "--help"), 0.15),
    Case("segsweep validate search_spaces/demo.yaml", (SEGSWEEP, "validate", "search_spaces/demo.yaml"), 0.3),
)


def cpu_seconds(case: Case, environment: dict[str, str]) -> float:
    """User plus system time of one run and its children. Raises CalledProcessError if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(case.command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(runs: int) -> dict[Case, float]:
    """Median CPU seconds of each case."""
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        rounds = [[cpu_seconds(case, environment) for case in CASES] for _ in range(runs + 1)]
    return dict(
        zip(CASES, map(statistics.median, zip(*rounds[1:], strict=True)), strict=True)
    )  # the first one compiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 if a bar is missed")
    parser.add_argument("--runs", type=int, default=11)
    arguments = parser.parse_args()
    measured = measure(arguments.runs)
    bare = measured[CASES[0]]
    print(f"{'CPU s':>6} {'x bare':>7} {'bar s':>6}  command")
    for case, seconds in measured.items():
        bar = "" if case.bar is None else f"{case.bar:.2f}"
        print(f"{seconds:6.3f} {seconds / bare:7.1f} {bar:>6}  {case.name}")
    missed = [case.name for case, seconds in measured.items() if case.bar is not None and seconds >= case.bar]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    sys.exit(1 if missed and arguments.check else 0)


if __name__ == "__main__":
    main()
