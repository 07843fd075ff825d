"""The processes that follow the one which holds the Trial: started, told what to do, watched and ended.

Plain children that are sent their work, on purpose not multiprocessing's: see workers.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING

from torch import distributed as dist

from segsweep.trainables.parallel import ProcessLostError, follow
from segsweep.trainables.parallel.follow import Start
from segsweep.trainables.training.team import connected

if TYPE_CHECKING:
    from segsweep.trainables.config import TrialConfig
    from segsweep.trainables.training.epoch import Place
    from segsweep.trainables.training.experiment import Experiment

GRACE_S = 5.0  # in which a process that was cut off says why, or is seen to have died


class Followers:
    """None: what a trial has that is trained by one process."""

    def begin(self, config: TrialConfig, experiment: Experiment) -> None:
        """Give them the experiment, which is built and has its state; its learner learns with them from here on."""

    @contextmanager
    def led(self, epoch: int) -> Iterator[None]:
        """They train the epoch while the caller does so. Raises ProcessLostError."""
        yield


class _Several(Followers):
    def __init__(self, processes: Sequence[_Process], place: Place, folder: Path, stack: ExitStack) -> None:
        """folder: only the user may enter; stack: of what has to be undone at the end."""
        self._processes, self._place, self._folder, self._stack = processes, place, folder, stack
        self._size = 1 + len(processes)

    def begin(self, config: TrialConfig, experiment: Experiment) -> None:
        meeting = self._folder / "meeting"
        start = Start(config, experiment.pretrained, self._size, self._place, meeting)
        with self._told(start):
            team = self._stack.enter_context(connected(meeting, 0, self._size))
            experiment.learner.join(team)

    @contextmanager
    def led(self, epoch: int) -> Iterator[None]:
        with self._told(epoch):
            yield

    @contextmanager
    def _told(self, message: object) -> Iterator[None]:
        """They do what they are told while the caller does the same. If anybody fails, all of them are ended."""
        for process in self._processes:
            process.tell(message)
        try:
            yield
        except Exception as error:
            # what torch says where another process hung up; anything else is this one's own error
            cut_off = type(error) is RuntimeError or isinstance(error, dist.DistError)
            lost = self._lost() if cut_off else None
            for process in self._processes:
                process.end()
            if lost is not None:
                raise lost from error
            raise

    def _lost(self) -> RuntimeError | None:
        """What became of those that failed; None if none did."""
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline:
            for number, process in enumerate(self._processes, start=2):
                if (error := process.failure(f"process {number} of {self._size}")) is not None:
                    return error
            time.sleep(0.05)
        return None


@contextmanager
def followers(size: int, place: Place) -> Iterator[Followers]:
    """As many as make a team of `size` with the caller. Afterwards all of them are ended."""
    if size == 1:
        yield Followers()
        return
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="segsweep-trial-"))
        processes = []
        for rank in range(1, size):
            processes.append(_Process(rank, place.cpus))
            stack.callback(processes[-1].end)
        yield _Several(processes, place, Path(folder), stack)


class _Process:
    def __init__(self, rank: int, cpus: int) -> None:
        self._connection, theirs = Pipe()
        modules = os.pathsep.join(path for path in sys.path if path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", follow.__name__, str(theirs.fileno()), str(rank)],
                env={**os.environ, "PYTHONPATH": modules, "OMP_NUM_THREADS": str(cpus)},
                stdin=subprocess.DEVNULL,
                stdout=2,  # what is printed there is no output of the caller's program
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for the parent, which ends its processes
            )

    def tell(self, message: object) -> None:
        with suppress(OSError):  # it died: whoever waits for it finds out, and says how
            self._connection.send(message)

    def failure(self, name: str) -> RuntimeError | None:
        """What it said or how it died; None if it lives and has said nothing."""
        with suppress(EOFError, OSError):
            if self._connection.poll():
                return RuntimeError(f"{name}: {self._connection.recv()}")
        if (code := self._process.poll()) is None:
            return None
        how = f"was killed by signal {-code}; perhaps memory ran out" if code < 0 else f"ended with code {code}"
        return ProcessLostError(f"{name} {how}")

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()
