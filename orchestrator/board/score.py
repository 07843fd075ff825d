"""What the trials of one model on one dataset came to, and how large and fast its network is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from segsweep.orchestrator.tracking.reader import TrialRow

LATENCY = "latency_ms"
SIZES: Mapping[str, Callable[[TrialRow], float | None]] = {
    "params_m": lambda row: row.params_m,  # millions
    "gmacs": lambda row: row.gmacs,
    LATENCY: lambda row: row.metrics.get(LATENCY),  # an image, as this trial measured it: see least_latency
    "peak_memory_gib": lambda row: row.metrics.get("peak_memory_gib"),  # in the last epoch
}
LEAST = "the least that trials of its network measured on its device, beside others; `segsweep profile` measures alone"


@dataclass(frozen=True)
class Score:
    """One model on one dataset. Only finished trials rank; `value` is None where there is none."""

    best: TrialRow | None
    rows: tuple[TrialRow, ...] = ()  # all its trials
    repeats: tuple[TrialRow, ...] = ()  # of some of them, with fresh seeds
    trials: int = 0
    finished: int = 0
    stopped: int = 0
    failed: int = 0
    infeasible: int = 0  # outside the sweep's constraints
    gpu_s: float = 0.0
    cpu_s: float = 0.0
    rank: int | None = None  # by value on this dataset, from 1; equal values share theirs
    leads: bool = False  # first on its dataset: by rank, or by the mean over fresh seeds where these were trained

    @property
    def value(self) -> float | None:
        return self.best.value if self.best else None

    @property
    def open(self) -> int:
        """Trials that run, or were interrupted and can go on."""
        return self.trials - self.finished - self.stopped - self.failed - self.infeasible

    def size(self, name: str, trial: TrialRow | None = None) -> float | None:
        """Of a trial, by default its best, as a domain in the architecture may change it; without one, of any.

        name: a key of SIZES; see least_latency for that.
        """
        one = trial or self.best
        for row in (one,) if one else self.rows:
            size = least_latency(row, (*self.rows, *self.repeats)) if name == LATENCY else SIZES[name](row)
            if size is not None:
                return size
        return None


def least_latency(of: TrialRow, trials: Iterable[TrialRow]) -> float | None:
    """Of the measurements by `trials` that ran the network of `of` on its device, in milliseconds.

    Trials that share a device slow each other down, and nothing makes them faster: the least is nearest to the truth.
    """
    known = sorted((ms, index, row) for index, row in enumerate(trials) if (ms := SIZES[LATENCY](row)) is not None)
    return next((ms for ms, _, row in known if _computes(row) == _computes(of)), None)


def _computes(row: TrialRow) -> tuple[object, ...]:
    """What decides how long a forward pass takes."""
    place = row.device, row.metrics.get("cpus"), row.metrics.get("gpus")
    asked = row.config and (row.config.image_size, row.config.precision, row.config.channels_last, row.config.compile)
    return row.architecture, row.params_m, row.gmacs, place, asked
