"""One trial, trained by several processes: a GPU each, or CPU cores.

Every process holds the whole network and takes its share of the images of every batch; gradients, the statistics of
BatchNorm and the scores are those of all of them together. With a loss that is a mean over labelled pixels, the numbers
are those of one process with the same batches, but for rounding and the masks of dropout. Losses that look at a batch
as a whole, such as dice, see a process's share of it instead (`segsweep losses NAME` says so).

The process that holds the Trial leads: it starts the others on the same machine, and they follow it epoch by epoch.
"""

from __future__ import annotations


class ProcessLostError(RuntimeError):
    """A process of the trial died, or no longer answers. The others are ended; the checkpoint is whole."""
