"""Processes that decode images. Plain children that are sent their work, on purpose not multiprocessing's.

Its `spawn` and `forkserver` import the caller's main script anew, and one without a guard would train once more; its
`fork` copies the locks of other threads, which hangs in a Ray worker.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue

from segsweep.trainables.cache_files import Chunk, Task, write_chunk
from segsweep.trainables.components import DataError

Written = Chunk | list[str]


def usable_cpus() -> int:
    """By affinity (containers, taskset), and no more than OMP_NUM_THREADS, which Ray sets to a trial's CPUs."""
    cpus = len(os.sched_getaffinity(0))
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(cpus, int(given)) if given.isdigit() and int(given) else cpus


def written(tasks: Sequence[Task], processes: int, lock: int) -> Generator[Written]:
    """Write the chunks, in whatever order they are done. With one process it is this one.

    lock: a descriptor that the processes inherit. If this process is killed, they keep the lock until they notice,
    after the chunk in hand; so nobody else begins to write the same files before.
    """
    if processes <= 1:
        yield from map(write_chunk, tasks)
        return
    with ThreadPoolExecutor(processes) as threads, _processes(processes, lock) as idle:
        try:
            for future in as_completed([threads.submit(_write, idle, task) for task in tasks]):
                yield future.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


class _Process:
    def __init__(self, lock: int) -> None:
        self._connection, theirs = Pipe()
        modules = os.pathsep.join(path for path in sys.path if path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": modules, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), lock),
                start_new_session=True,  # Ctrl-C is for the parent, which ends its processes
            )

    def write(self, task: bytes) -> Written | None:
        """None if the process could not do it. Raises DataError if it died."""
        try:
            self._connection.send_bytes(task)
            answer: Written | None = self._connection.recv()
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
def _processes(count: int, lock: int) -> Iterator[SimpleQueue[_Process]]:
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


def _write(idle: SimpleQueue[_Process], task: Task) -> Written:
    """In an idle process; in this one if the samples cannot travel or something unforeseen happens to them there."""
    process = idle.get()
    answer = None
    try:
        with suppress(pickle.PicklingError, AttributeError, TypeError):
            answer = process.write(pickle.dumps(task))
    finally:
        idle.put(process)
    return write_chunk(task) if answer is None else answer


def _serve(connection: Connection) -> None:
    """Answer tasks until the parent hangs up."""
    import cv2

    cv2.setNumThreads(1)
    while True:
        try:
            task = connection.recv_bytes()
        except EOFError:
            return
        answer = None
        with suppress(Exception):  # the parent tries again, and meets the error itself
            answer = write_chunk(pickle.loads(task))
        connection.send(answer)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
