"""Processes that decode images. Plain children that are sent their work, on purpose not multiprocessing's.

Its `spawn` and `forkserver` import the caller's main script anew, and one without a guard would train once more; its
`fork` copies the locks of other threads, which hangs in a Ray worker.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TypeVar, cast

from segsweep.trainables.components import DataError, Sample

PIXELS_A_PROCESS = 50_000_000  # about 1.5 s of decoding, in which another process has paid for its start
LOOKED_AT = 3  # samples from which the size of all is estimated

Task = TypeVar("Task")
Result = TypeVar("Result")


def usable_cpus() -> int:
    """By affinity (containers, taskset), and no more than OMP_NUM_THREADS, which Ray sets to a trial's CPUs."""
    cpus = len(os.sched_getaffinity(0))
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(cpus, int(given)) if given.isdigit() and int(given) else cpus


def pixels_of(samples: Sequence[Sample]) -> int:
    """About how many they have all together, from the few that are read for it; a label takes a byte for each."""
    looked_at = []
    for sample in samples[:: max(1, len(samples) // LOOKED_AT)][:LOOKED_AT]:
        with suppress(Exception):  # it is told when its turn comes
            looked_at.append(sample.read().label.size)
    return len(samples) * sum(looked_at) // max(1, len(looked_at))


def worthwhile(pixels: int, tasks: int) -> int:
    """How many processes so many pixels to decode are worth, in so many tasks, on this machine."""
    return min(usable_cpus(), 1 + pixels // PIXELS_A_PROCESS, tasks)


def results(
    work: Callable[[Task], Result], tasks: Sequence[Task], processes: int, lock: int | None = None
) -> Generator[Result]:
    """What `work` makes of each task, never None, in whatever order they are done. With one process it is this one.

    lock: a descriptor that the processes inherit. If this process is killed, they keep the lock until they notice,
    after the task in hand; so nobody else begins to write the same files before.
    """
    if processes <= 1:
        yield from map(work, tasks)
        return
    with ThreadPoolExecutor(processes) as threads, _processes(processes, lock) as idle:
        try:
            for future in as_completed([threads.submit(_done, idle, work, task) for task in tasks]):
                yield future.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


class _Process:
    def __init__(self, lock: int | None) -> None:
        self._connection, theirs = Pipe()
        modules = os.pathsep.join(path for path in sys.path if path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": modules, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),) if lock is None else (theirs.fileno(), lock),
                start_new_session=True,  # Ctrl-C is for the parent, which ends its processes
            )

    def do(self, job: bytes) -> object:
        """What the pickled (work, task) came to; None if the process could not do it. Raises DataError if it died."""
        try:
            self._connection.send_bytes(job)
            answer: object = self._connection.recv()
        except (EOFError, OSError) as error:
            code = self._process.wait()
            raise DataError(
                f"a process that decodes images ended with code {code}; if memory ran out, "
                "OMP_NUM_THREADS=1 decodes one image at a time"
            ) from error
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()


@contextmanager
def _processes(count: int, lock: int | None) -> Iterator[SimpleQueue[_Process]]:
    idle: SimpleQueue[_Process] = SimpleQueue()
    started: list[_Process] = []
    try:
        for _ in range(count):
            started.append(_Process(lock))
            idle.put(started[-1])
        yield idle
    finally:
        for process in started:
            process.close()


def _done(idle: SimpleQueue[_Process], work: Callable[[Task], Result], task: Task) -> Result:
    """In an idle process; in this one if the samples cannot travel or something unforeseen happens to them there."""
    process = idle.get()
    answer = None
    try:
        with suppress(pickle.PicklingError, AttributeError, TypeError):
            answer = process.do(pickle.dumps((work, task)))
    finally:
        idle.put(process)
    return work(task) if answer is None else cast(Result, answer)


def _serve(connection: Connection) -> None:
    """Answer tasks until the parent hangs up."""
    import cv2

    cv2.setNumThreads(1)
    while True:
        try:
            job = connection.recv_bytes()
        except EOFError:
            return
        answer = None
        with suppress(Exception):  # the parent tries again, and meets the error itself
            work, task = pickle.loads(job)
            answer = work(task)
        connection.send(answer)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
