"""The report of a sweep, made when it is asked for, by `segsweep report` in a process of its own.

So the server needs no torch, and answers meanwhile. Two reports are never made at once: each fills a core for seconds.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from segsweep.orchestrator.ui.journals import Stamp

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-c", "from segsweep.orchestrator.cli import main; main()", "report")
FRESH_S = 60.0  # while a sweep runs, its report may be so old
GIVES_UP_S = 1800.0


@dataclass(frozen=True)
class Report:
    stamp: tuple[Stamp, bool]  # of the journal, and whether the sweep was running
    made_s: float  # monotonic
    file: Path | None
    problem: str  # why there is no file


class Reports:
    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="segsweep-ui-")
        self._made: dict[Path, Report] = {}
        self._making: set[Path] = set()
        self._lock, self._one_at_a_time = threading.Lock(), threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    def ask(self, sweep: Path, stamp: Stamp, *, running: bool) -> Report | None:
        """The report of the sweep in that folder as it is now; None while it is being made."""
        wanted = stamp, running
        with self._lock:
            made = self._made.get(sweep)
            if made is not None and (made.stamp == wanted or (running and time.monotonic() - made.made_s < FRESH_S)):
                return made
            if sweep not in self._making:
                self._making.add(sweep)
                threading.Thread(target=self._make, args=(sweep, wanted), name="report", daemon=True).start()
        return None

    def _make(self, sweep: Path, stamp: tuple[Stamp, bool]) -> None:
        with self._one_at_a_time:
            file = Path(self._folder.name, f"{sweep.name}.html")
            problem = self._run(sweep, file, images=not stamp[1])
        with self._lock:
            self._made[sweep] = Report(stamp, time.monotonic(), None if problem else file, problem)
            self._making.discard(sweep)

    def _run(self, sweep: Path, file: Path, *, images: bool) -> str:
        """What went wrong. Pictures are predicted on the CPU, and once the sweep has ended: GPUs are for training."""
        fresh = file.with_suffix(".new")
        options = ["--output", str(fresh), "--no-mlflow", "--images" if images else "--no-images"]
        with self._lock:
            if self._closed:
                return "the server ends"
            self._process = process = subprocess.Popen(
                [*COMMAND, str(sweep), *options],
                env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        try:
            said, _ = process.communicate(timeout=GIVES_UP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
        if process.returncode == 0 and fresh.is_file():
            fresh.replace(file)
            return ""
        logger.debug("the report of %s: %s", sweep, said)
        return said.strip().rpartition("\n")[2] or f"`segsweep report` ended with code {process.returncode}"

    def close(self) -> None:
        """Ends what is being made, and removes what was."""
        with self._lock:
            self._closed = True
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()
        with self._one_at_a_time:
            self._folder.cleanup()
