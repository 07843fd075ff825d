"""Work done ahead, in threads, and handed out in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2  # results that wait beside those in the making


def in_order(work: Callable[[T], R], tasks: Iterable[T], threads: int) -> Generator[R]:
    """work(task) for every task, in their order whatever the number of threads; with 0 the caller's own does it.

    At most `threads + AHEAD` are ahead of the caller. What `work` raises is raised here when its turn comes. Closing
    the generator waits for the work in hand and drops the rest.
    """
    if threads == 0:
        yield from map(work, tasks)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="prefetch") as pool:
        ahead: deque[Future[R]] = deque()
        try:
            for task in tasks:
                ahead.append(pool.submit(work, task))
                if len(ahead) > threads + AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
