"""What people are told while they wait: lines, and progress that is counted in images, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

Announce = Callable[[str], None]


class Progress:
    """A bar that appears with the first report. Where no terminal is, its label alone, once; nothing if quiet."""

    def __init__(self, label: str, *, quiet: bool = False) -> None:
        self.began = False
        self._label, self._quiet = label, quiet
        self._bar: ProgressBar[int] | None = None
        self._done = 0

    def __call__(self, done: int, total: int) -> None:
        """done: so far, of `total`; may be called from any thread, one at a time."""
        if self._bar is None:
            self.began = True
            self._bar = click.progressbar(length=total, label=self._label, file=sys.stderr, hidden=self._quiet)
            self._bar.__enter__()
        self._bar.update(done - self._done)
        self._done = done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)
