"""segsweep as a user types it, in this process or one of its own, and a sweep that was launched so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TINY = """\
datasets: [{type: streets, size: [48, 80], train: 8, val: 4, test: 4}]
models: [{architecture: unet, encoder: tu-mobilenetv3_small_050, decoder_channels: [16, 16, 16, 16, 16], name: tiny}]
trials: 2
epochs: 1
batch_size: 4
image_size: [48, 80]
scheduler: fifo
"""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.err.splitlines()[-1]


Run = Callable[..., Done]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`segsweep ARGUMENTS` as a process of its own in `folder`."""
    command = [sys.executable, "-c", "from segsweep.orchestrator.cli import main; main()", *arguments]
    environment = {**os.environ, "SEGSWEEP_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    environment.pop("SEGSWEEP_DATA", None)
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@dataclass(frozen=True)
class Finished:
    """A sweep that `segsweep launch tiny.yaml` ran in `home`."""

    home: Path
    done: Done

    @property
    def folder(self) -> Path:
        return self.home / "sweeps" / "tiny-1"

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.home}/mlflow.db"


def status_of(run: Run, sweep: str | Path) -> dict[str, object]:
    facts: dict[str, object] = json.loads(run("status", sweep, "--json").out)
    return facts


def refused(run: Run, *arguments: str | Path) -> str:
    """The one message that `segsweep ARGUMENTS` ends with; nothing may have been written."""
    before = everything_below(Path.cwd())
    done = run(*arguments)
    (message,) = [line.removeprefix("error: ") for line in done.err.splitlines() if line.startswith("error: ")]
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert everything_below(Path.cwd()) == before
    return message


def everything_below(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))
