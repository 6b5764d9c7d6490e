"""What each labelled row looks like to a head that never saw it: exact solves, every row left out once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from crossgraft.errors import CrossgraftError
from crossgraft.seeds import rng
from crossgraft.solve.convex import Part, rows_of, span
from crossgraft.solve.newton import minimise
from crossgraft.solve.preconditioner import Preconditioner
from crossgraft.solve.rows import Array, Rows
from crossgraft.solve.threads import threads_for
from crossgraft.tasks import log_softmax

ONE_BY_ONE, GROUPS = 60, 20  # rows up to which each is left out alone; groups that are left out above that
RIDGES = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
BATCH = 2e7  # numbers in one batch of logits
TOLERANCE = 1e-7  # nats above the optimum: one row moves the objective by little


@dataclass(frozen=True)
class LeftOut:
    """Log-probabilities of each row by a head that never saw it, over the columns of its part, at the chosen point."""

    log_p: Float[np.ndarray, "n k"]
    lam: float
    ridge: float
    loss: float


def left_out(
    part: Part,
    n_columns: int,
    *,
    other: Part | None = None,
    lams: Sequence[float] = (0.0,),
    ridges: Sequence[float] = RIDGES,
    seed: int = 0,
) -> LeftOut:
    """CE(part) + lam CE(other) + ridge/2 |W|^2 without each row in turn; lambda and ridge of the least mean loss.

    Up to 60 rows each is left out alone. Above that 20 groups, drawn by `seed` and spread over the classes, are left
    out one after the other: 19 of 20 rows judge about as all but one do, and the solves are exact where the formula
    for single rows is optimistic (mislabelled rows have leverage). Rows of equal features are left out together: a
    copy would vouch for its own label. The mean loss is weighted by `part.sample_weight`. Features are of mean squared
    norm 1 (`path.scaling`). Raises CrossgraftError where there are not two different rows.

    >>> x, y = np.array([[-1.0], [-0.8], [0.9], [1.0]]), np.array([0, 0, 1, 1])
    >>> left_out(Part(x, y, np.arange(2)), 2).log_p.argmax(axis=1).tolist()
    [0, 0, 1, 1]
    """
    groups = groups_of(part.x, part.y, seed)
    s = np.ones(len(part.y)) if part.sample_weight is None else part.sample_weight
    work = (len(part.y) + (0 if other is None else len(other.y))) * part.x.shape[1] * n_columns * GROUPS
    best: LeftOut | None = None
    with threads_for(work):
        for lam in lams:
            rows = [rows_of(part, None, np.float32)]
            if other is not None and lam > 0:
                rows.append(rows_of(replace(other, weight=lam), None, np.float32))
            if sum(len(r.x) for r in rows) < 0.9 * rows[0].x.shape[1]:
                _, rows = span(rows)
            v = np.zeros((1, n_columns, rows[0].x.shape[1]), dtype=np.float32)
            for ridge in sorted(ridges, reverse=True):
                z, v = without(rows, n_columns, ridge, groups, v)
                log_p = log_softmax(z)
                loss = float(-(s * log_p[np.arange(len(z)), rows[0].label]).sum() / s.sum())
                if best is None or loss < best.loss:
                    best = LeftOut(log_p, lam, ridge, loss)
    assert best is not None
    return best


def groups_of(
    x: Float[np.ndarray, "n D"], y: Int[np.ndarray, " n"], seed: int, alone: int = ONE_BY_ONE, groups: int = GROUPS
) -> Int[np.ndarray, " n"]:
    """The group that each row is left out with: its own up to `alone` rows, else one of `groups`."""
    seen: dict[bytes, int] = {}
    same = np.array([seen.setdefault(row.tobytes(), i) for i, row in enumerate(np.ascontiguousarray(x))])
    first = np.unique(same)
    if len(first) < 2:
        raise CrossgraftError(
            f"{len(x)} labelled rows hold {len(first)} different rows of features: none can judge another",
            "label more examples, or take another backbone",
        )
    order = rng(seed, "left_out").permutation(first)
    order = order[np.argsort(y[order], kind="stable")]
    group = np.empty(len(x), dtype=np.int64)
    group[order] = np.arange(len(order)) % (len(order) if len(order) <= alone else groups)
    return np.asarray(group[same])


def without(
    rows: list[Rows], n_columns: int, ridge: float, groups: Array, v: Array
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "1 U D"]]:
    """Logits of every row of the first part without its group, and the head of all rows."""
    target, ridge_a = rows[0], np.array([ridge])
    whole = minimise(rows, n_columns, ridge_a, v.copy(), TOLERANCE)
    shared = Preconditioner(rows, n_columns, ridge_a, whole.probs)
    z = np.empty((len(target.x), len(target.columns)))
    widest = max(len(r.x) * len(r.columns) for r in rows) + v.size
    size, n_groups = max(1, int(BATCH / widest)), int(groups.max()) + 1
    for a in range(0, n_groups, size):
        some = np.arange(a, min(a + size, n_groups))
        w = np.where(groups == some[:, None], 0, target.w).astype(np.float32)
        start = np.repeat(whole.v, len(some), axis=0)
        found = minimise(
            [replace(target, w=w), *rows[1:]], n_columns, np.repeat(ridge_a, len(some)), start, TOLERANCE, shared, True
        )
        mine = np.flatnonzero((groups >= a) & (groups < a + len(some)))
        heads = found.v[:, target.columns]
        for g in some:
            out = mine[groups[mine] == g]
            z[out] = target.x[out] @ heads[g - a].T
    return z, whole.v
