"""Gaussian filtering among points of a few dimensions, in time linear in their number.

Source: Adams, Baek & Davis, "Fast high-dimensional filtering using the permutohedral lattice", Eurographics 2010. Each
point lies in a simplex of d+1 vertices of the lattice; values are spread over these, blurred along d+1 directions and
read back. All three are sparse matrices here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating]
    Ints = npt.NDArray[np.int64]


class Lattice:
    """Of N points."""

    def __init__(self, points: Floats) -> None:
        """points: (N, d), in standard deviations. Raises OverflowError where 64 bits do not number the vertices."""
        count, d = points.shape
        keys, weights = _simplices(points)
        low = keys.min(axis=(0, 1)) - d  # room for what lies one step beyond
        spans = (keys.max(axis=(0, 1)) + d + 1 - low).tolist()
        strides = np.array([math.prod(spans[:axis]) for axis in range(d)])
        codes, vertices = np.unique((keys - low) @ strides, return_inverse=True)
        starts = np.arange(count + 1) * (d + 1)
        self._read = sparse.csr_array((weights.ravel(), vertices.ravel(), starts), shape=(count, len(codes)))
        self._spread = self._read.T.tocsr()
        self._blurs = [_blur(codes, step) for step in (_directions(d) @ strides).tolist()]

    def filtered(self, values: Floats) -> Floats:
        """(N, C): for each point the sum of all values (N, C), weighted by a Gaussian of distance, up to a factor.

        A point counts for itself, too.
        """
        at_vertices = self._spread @ values
        for blur in self._blurs:
            at_vertices = blur @ at_vertices
        return np.asarray(self._read @ at_vertices)


def _simplices(points: Floats) -> tuple[Ints, Floats]:
    """The vertices (N, d+1, d) around each point, without the last coordinate (all sum to 0), and weights (N, d+1)."""
    d = points.shape[1]
    embedded = points @ _embedding(d)
    nearest = np.rint(embedded / (d + 1)).astype(np.int64)  # d+1 times that is a vertex, if it sums to 0
    rank = np.argsort(np.argsort((d + 1) * nearest - embedded, axis=1), axis=1) + nearest.sum(axis=1, keepdims=True)
    nearest += (rank < 0).astype(np.int64) - (rank > d)
    rank %= d + 1
    offsets = np.sort(embedded / (d + 1) - nearest, axis=1)
    weights = np.diff(offsets, axis=1, prepend=offsets[:, -1:] - 1)
    remainder = np.arange(d + 1)[:, None]  # of a vertex's coordinates, divided by d+1
    wrapped = rank[:, None, :d] > d - remainder
    return (d + 1) * nearest[:, None, :d] + remainder - (d + 1) * wrapped, weights.astype(np.float32)


def _embedding(d: int) -> Floats:
    """(d, d+1) from points to the hyperplane of the lattice, so that the blur has a standard deviation of 1."""
    found = np.zeros((d, d + 1))
    for axis in range(d):
        found[axis, : axis + 1], found[axis, axis + 1] = 1, -(axis + 1)
        found[axis] *= math.sqrt(2 / 3) * (d + 1) / math.sqrt((axis + 1) * (axis + 2))
    return found


def _directions(d: int) -> Ints:
    """(d+1, d) from a vertex to its neighbours on one side; those on the other are opposite."""
    return np.ones((d + 1, d), np.int64) - (d + 1) * np.eye(d + 1, d, dtype=np.int64)


def _blur(codes: Ints, step: int) -> sparse.csr_array:
    """Of each vertex and its two neighbours in one direction, 1/4, 1/2 and 1/4."""
    places = np.searchsorted(codes, codes + step).clip(max=len(codes) - 1)
    there = np.flatnonzero(codes[places] == codes + step)
    quarter = np.full(len(there), 0.25, np.float32)
    beside = sparse.csr_array((quarter, (there, places[there])), shape=(len(codes), len(codes)))
    return sparse.csr_array(0.5 * sparse.eye_array(len(codes), dtype=np.float32) + beside + beside.T)
