"""The optimum of a sum of cross-entropies in the head: convex, so it is solved, with a bound on what is left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.multilabel import Bernoullis
from crossgraft.solve.newton import minimise
from crossgraft.solve.quasi import descend
from crossgraft.solve.rows import Array, Rows
from crossgraft.solve.threads import threads_for
from crossgraft.tasks import log_softmax, row_losses

SMALL = 2e7  # products of one pass below which float64 costs nothing worth saving
CHUNK = 8192


@dataclass(frozen=True)
class Part:
    """weight * mean cross-entropy over the labelled rows of one domain, nats.

    y  the column of each row, or, of sets of classes, 1 where one of `columns` holds, else 0, (n, k); -1 where missing
    """

    x: Float[np.ndarray, "n D"]
    y: Int[np.ndarray, "n ..."]
    columns: Int[np.ndarray, " k"]
    weight: float = 1.0
    sample_weight: Float[np.ndarray, " n"] | None = None
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class Head:
    """A linear head: logits = x @ weight + bias, one column a class of the union."""

    weight: Float[np.ndarray, "D U"]
    bias: Float[np.ndarray, " U"]
    objective: float = float("nan")
    gap: float = float("nan")
    iterations: int = 0
    seconds: float = 0.0
    converged: bool = True
    transitions: Float[np.ndarray, "U U"] | None = None  # of a CRF over tags


def rows_of(part: Part, prior: Array | None = None, dtype: type = np.float64) -> Rows:
    """Labelled rows with a constant 1 appended, labels as places in its columns, weights adding to its own."""
    x, y, columns = np.asarray(part.x), np.asarray(part.y), np.asarray(part.columns, dtype=np.int64)
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise UsageError(
            f"features {x.shape} and labels {y.shape} do not match", "give one row of features for each label"
        )
    keep = np.flatnonzero(y >= 0)
    place = np.full(max(int(columns.max(initial=0)), int(y.max(initial=0))) + 1, -1)
    place[columns] = np.arange(len(columns))
    label = place[y[keep]]
    if (label < 0).any():
        row = int(keep[np.argmin(label)])
        raise UsageError(f"label {int(y[row])} of row {row} is not among the columns of its part", "add the column")
    rows = np.empty((len(keep), x.shape[1] + 1), dtype=dtype)
    rows[:, :-1] = x[keep] if len(keep) < len(y) else x
    rows[:, -1] = 1
    if not np.isfinite(rows.sum()) and not (fine := np.isfinite(rows).all(axis=1)).all():
        row = int(keep[np.argmin(fine)])
        raise CrossgraftError(
            f"features of row {row} are not finite", "leave that row out or compute its features again"
        )
    s = np.ones(len(keep)) if part.sample_weight is None else np.asarray(part.sample_weight, dtype=float)[keep]
    if not (np.isfinite(s).all() and (s >= 0).all()):
        raise UsageError("a sample weight is negative or not finite", "weights are finite numbers of zero or more")
    w = part.weight * s / (s.sum() or 1.0)
    z0: Array | None = None if prior is None else (prior[:, columns].T @ rows.T).astype(dtype)
    return Rows(rows, z0, label, w.astype(dtype), columns, part.label_smoothing)


def stacked(head: Head | tuple[Array, Array]) -> Float[np.ndarray, "D1 U"]:
    """Weight and bias as one float64 matrix, the bias last."""
    weight, bias = (head.weight, head.bias) if isinstance(head, Head) else head
    return np.vstack([weight, np.asarray(bias)[None]]).astype(np.float64)


def solve(
    parts: Sequence[Part],
    n_columns: int,
    *,
    ridge: float,
    prior: Head | tuple[Array, Array] | None = None,
    start: Head | None = None,
    tolerance: float = 1e-6,
) -> Head:
    """Minimise sum_parts weight * CE(part) + ridge/2 (|W - W0|^2 + |b - b0|^2), nats.

    Of sets of classes CE is the sum over classes of binary cross-entropies (`by_class.solve_sets`, without a prior).
    Until the objective is at most about `tolerance` nats above its least; `Head.gap` bounds what is left. A part of
    weight zero is not read; rows without a label (-1) are left out. UsageError where nothing can be minimised.

    >>> x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    >>> head = solve([Part(x, y, np.arange(2))], 2, ridge=0.01)
    >>> (x @ head.weight + head.bias).argmax(axis=1).tolist()
    [0, 0, 1, 1]
    """
    began = time.perf_counter()
    if not ridge > 0:
        raise UsageError(
            f"a ridge of {ridge} is not above zero", "the optimum exists and is unique for every ridge above zero"
        )
    active = [p for p in parts if p.weight != 0]
    if not active:
        raise UsageError("no cross-entropy to minimise", "give at least one part of weight above zero")
    if np.ndim(active[0].y) == 2:
        from crossgraft.solve.by_class import solve_sets

        return solve_sets(active, n_columns, ridge=ridge, start=start, tolerance=tolerance)
    w0 = None if prior is None else stacked(prior)
    products = sum(len(p.x) for p in active) * active[0].x.shape[1] * n_columns
    with threads_for(products):
        head = _solve(active, n_columns, ridge, w0, start, tolerance, products < SMALL)
    return replace(head, seconds=time.perf_counter() - began)


def losses(head: Head, part: Part) -> Float[np.ndarray, " n"]:
    """-log p(y_i | x_i) of each labelled row of a part by a head, nats; its weights are not read."""
    z = part.x @ head.weight[:, part.columns] + head.bias[part.columns]
    if np.ndim(part.y) == 2:
        return Bernoullis(z).losses(part.y)
    place = np.zeros(len(head.bias), dtype=np.int64)
    place[part.columns] = np.arange(len(part.columns))
    return row_losses(log_softmax(z), place[part.y])


def _solve(
    active: list[Part],
    n_columns: int,
    ridge: float,
    w0: Array | None,
    start: Head | None,
    tolerance: float,
    small: bool,
) -> Head:
    rows = [rows_of(p, w0, np.float64 if small else np.float32) for p in active]
    rows = [r for r in rows if len(r.x)]
    d = active[0].x.shape[1] + 1
    zero = np.zeros((d, n_columns)) if w0 is None else w0
    v = np.zeros_like(zero) if start is None or not rows else stacked(start) - zero
    basis: Span | None = None
    f, gap, steps, good = 0.0, 0.0, 0, True
    if rows and sum(len(r.x) for r in rows) < 0.9 * d:
        basis, rows = span(rows)
        v = basis.down(v)
    for dtype in (np.float64,) if small else (np.float32, np.float64):
        if rows:
            cast = [r.cast(dtype) for r in rows]
            first = np.ascontiguousarray(v.T[None]).astype(dtype)
            near = None if small else descend(cast, n_columns, ridge, first, tolerance)
            first, known = (first, None) if near is None else (near.v, near.preconditioner)
            steps += 0 if near is None else near.iterations
            result = minimise(cast, n_columns, np.array([ridge]), first, tolerance, known)
            v, steps, good = result.v[0].T.astype(np.float64), steps + result.iterations, bool(result.converged[0])
            f, gap = certificate(rows, v, ridge)
        if good:
            break
    w = zero + (v if basis is None else basis.up(v))
    return Head(w[:-1].copy(), w[-1].copy(), f, gap, steps, converged=good)


@dataclass(frozen=True)
class Span:
    """What the rows X span: W = X' L^-T V with L L' = X X' + jitter, so that logits are L V and |W| is |V|.

    The jitter, 1e-11 of the sum of squared norms, stands in for rows that repeat one another.
    """

    x: Float[np.ndarray, "n D"]
    lower: Float[np.ndarray, "n n"]

    def up(self, v: Float[np.ndarray, "n U"]) -> Float[np.ndarray, "D U"]:
        """From coordinates in the span to features."""
        return np.asarray(self.x.T @ np.linalg.solve(self.lower.T, v))

    def down(self, w: Float[np.ndarray, "D U"]) -> Float[np.ndarray, "n U"]:
        """From features to coordinates in the span."""
        return np.asarray(np.linalg.solve(self.lower, self.x @ w))


def span(rows: list[Rows]) -> tuple[Span, list[Rows]]:
    """What the rows span, and the rows in it: the optimum leaves its prior only along them."""
    x = np.concatenate([r.x for r in rows]).astype(np.float64)
    gram = x @ x.T
    jitter = 1e-11 * max(float(np.trace(gram)), 1e-30)
    lower = np.linalg.cholesky(gram + jitter * np.eye(len(x)))
    pieces = np.split(lower, np.cumsum([len(r.x) for r in rows])[:-1])
    return Span(x, lower), [replace(r, x=x.astype(r.x.dtype)) for r, x in zip(rows, pieces, strict=True)]


def certificate(rows: list[Rows], v: Float[np.ndarray, "D U"], ridge: float) -> tuple[float, float]:
    """Objective and |gradient|^2 / (2 ridge), in float64 whatever the precision of the rows."""
    f, g = 0.5 * ridge * float((v**2).sum()), ridge * v.T[None]
    for r in rows:
        for i in range(0, len(r.x), CHUNK):
            z0 = None if r.z0 is None else r.z0[:, i : i + CHUNK]
            some = slice(i, i + CHUNK)
            one = replace(r, x=r.x[some], z0=z0, label=r.label[some], w=r.w[some]).cast(np.float64)
            loss, p = one.loss(one.logits(v.T[None]))
            f += float(loss[0])
            one.back(one.residual(p), g)
    return f, float((g**2).sum()) / (2 * ridge)
