"""What changes smoothly along a path: which points are computed, in which order, and what lies between them.

Optima and left-out logits are analytic in log lambda and log ridge (implicit function theorem), so a polynomial
through a few points is near all the others.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.interpolate import make_interp_spline

from crossgraft.solve.rows import Array

FINE, COARSE = 0.7 * np.log(10), 1.5 * np.log(10)  # log units between two nodes at most
NEXT = COARSE / 4  # so near that a parabola through the optima before is a good start


def nodes(t: Float[np.ndarray, " n"], apart: float) -> Int[np.ndarray, " m"]:
    """Places of points of t from its least to its greatest, about evenly spread and about `apart` at most.

    >>> nodes(np.log([1e-5, 1e-4, 1e-3, 1e-2, 1e-1]), COARSE).tolist()
    [0, 1, 3, 4]
    """
    values, first = np.unique(t, return_index=True)
    m = min(len(values), int(np.ceil((values[-1] - values[0]) / apart - 1e-9)) + 1)
    even = np.linspace(values[0], values[-1], m)
    return np.asarray(first[np.unique(np.abs(values[:, None] - even).argmin(axis=0))])


def coarse_to_fine(t: Float[np.ndarray, " n"]) -> list[int]:
    """Places of t from its least to its greatest: some a step apart, then again and again what lies between.

    Every sweep begins where the one before ended, so that what was computed last is near.

    >>> coarse_to_fine(np.log([1.0, 1.5, 2.2, 3.3, 5.0]))
    [0, 2, 4, 3, 1]
    """
    order, done, down = np.argsort(t, kind="stable"), np.zeros(len(t), dtype=bool), False
    sweep = np.flatnonzero(np.isin(order, nodes(t, NEXT)))
    found: list[int] = []
    while len(sweep):
        done[sweep] = True
        found += order[sweep[::-1] if down else sweep].tolist()
        ends, down = np.flatnonzero(done), not down
        rest = np.flatnonzero(~done)
        after = np.searchsorted(ends, rest)
        low, high = ends[np.maximum(after - 1, 0)], ends[np.minimum(after, len(ends) - 1)]
        sweep = np.unique(np.where(low < high, (low + high) // 2, rest))  # repeated ends lie between none
    return found


def weights(t: Float[np.ndarray, " n"], at: float) -> Float[np.ndarray, " n"]:
    """What each value at t counts for the one at `at`: the cubic through the four nearest, outside of t through three.

    Lagrange's polynomial; of equal t the first counts.
    """
    out = np.zeros(len(t))
    distinct = np.unique(t, return_index=True)[1]
    near = distinct[np.argsort(np.abs(t[distinct] - at), kind="stable")]
    near = near[: 4 if t.min() <= at <= t.max() else 3]
    for i in near:
        others = t[near[near != i]]
        out[i] = np.prod((at - others) / (t[i] - others))
    return out


def spline(t: Float[np.ndarray, " m"], values: Array, at: Float[np.ndarray, " n"], axis: int) -> Array:
    """Values at t, along one axis, interpolated by a quadratic spline; a line, or a constant, where there are fewer."""
    order = np.argsort(t)
    found = make_interp_spline(t[order], np.take(values, order, axis=axis), k=min(2, len(t) - 1), axis=axis)
    return np.asarray(found(at))
