"""Which example to label next: those whose labels would lower the expected cross-entropy over the target most.

Letters: M unlabelled rows, L labelled ones, D features with the constant 1 appended, K classes; a the prior precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from crossgraft.errors import CrossgraftError, UsageError

LEAST = 1e-6  # curvature below which a labelled row says nothing
ALIKE = 0.01  # |x - x'|^2 in |x|^2 + |x'|^2 below which two rows are copies of each other


@dataclass(frozen=True)
class Batch:
    """Rows to label, in order; what each takes off the expected cross-entropy given those before it, nats; and the
    expected cross-entropy above that of the best head, before any of them."""

    rows: Int[np.ndarray, " n"]
    reduction: Float[np.ndarray, " n"]
    excess: float


def next_batch(
    x: Float[np.ndarray, "M D"],
    p: Float[np.ndarray, "M K"],
    x_labelled: Float[np.ndarray, "L D"],
    p_labelled: Float[np.ndarray, "L K"],
    n: int,
    *,
    precision: float,
    weights: Float[np.ndarray, " L"] | None = None,
) -> Batch:
    """The n rows whose labels would lower the expected cross-entropy over all M rows most, chosen one after another.

    p, p_labelled  the head's probabilities; the labels themselves do not enter
    precision      a of the prior N(0, I/a) on the weights of each class: ridge x number of labels
    weights        how much each labelled row counts, 1 by default

    To second order the cross-entropy that the head's uncertainty costs is (1/M) sum_j sum_c w_jc V_c(j, j)/2, with
    w = p (1 - p) and V_c = (a I + sum_L w_lc x_l x_l')^-1 seen from the rows, the Laplace posterior of class c (classes
    apart: the diagonal blocks of the Hessian). A label at row i takes off (1/M) sum_j w_jc V_c(j, i)^2 w_ic /
    (2 (1 + w_ic V_c(i, i))) for every c, whatever it turns out to be, and V_c is then updated: what is near a row
    already taken has little left to tell. Near copies of a row taken, where |x - x'|^2 is below 1 % of |x|^2 + |x'|^2,
    come after all others. This is the Fisher objective tr(V F) of Ash et al. (BAIT, NeurIPS 2021), by forward greedy
    steps, in nats. Memory is K M^2.

    >>> x = np.array([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0]])
    >>> next_batch(x, np.full((3, 2), 0.5), x[:0], np.full((0, 2), 0.5), 2, precision=0.1).rows.tolist()
    [1, 2]
    """
    m, k = p.shape
    if x.shape[0] != m or x_labelled.shape[0] != p_labelled.shape[0]:
        raise UsageError(f"{len(x)} and {len(x_labelled)} rows, {m} and {len(p_labelled)} outputs", "give one a row")
    if n < 1 or not precision > 0:
        raise UsageError(f"n is {n}, the precision {precision}", "give one example or more, and a ridge above zero")
    if m == 0:
        raise CrossgraftError("there is no unlabelled example to choose from", "add unlabelled examples")
    w = p * (1 - p)
    given = np.ones(len(x_labelled)) if weights is None else weights
    v = _posterior(x, x_labelled, given[:, None] * p_labelled * (1 - p_labelled), precision)
    excess = float(np.einsum("cjj,jc->", v, w)) / (2 * m)
    norms = (x**2).sum(1)
    copies = np.zeros(m, dtype=bool)
    rows: list[int] = []
    reduction: list[float] = []
    for _ in range(min(n, m)):
        # V_c(i, i) of every row, and the gain of each candidate
        gain = np.zeros(m)
        for c in range(k):
            gain += (w[:, c] @ v[c] ** 2) * w[:, c] / (1 + w[:, c] * np.diag(v[c]))
        top = float(gain.max()) + 1
        gain[copies] -= top
        gain[rows] = -np.inf
        i = int(gain.argmax())
        rows.append(i)
        reduction.append(float(gain[i] + (top if copies[i] else 0)) / (2 * m))
        copies |= norms + norms[i] - 2 * x @ x[i] <= ALIKE * (norms + norms[i])
        for c in range(k):
            v[c] -= np.outer(v[c][i], v[c][i]) * (w[i, c] / (1 + w[i, c] * v[c][i, i]))
    return Batch(np.array(rows, dtype=np.int64), np.array(reduction), excess)


def _posterior(
    x: Float[np.ndarray, "M D"], given: Float[np.ndarray, "L D"], w: Float[np.ndarray, "L K"], precision: float
) -> Float[np.ndarray, "K M M"]:
    """X V_c X' for every class, from M x M and L x L matrices, or from D x D ones where more is labelled."""
    m, d, k = len(x), x.shape[1], w.shape[1]
    v = np.empty((k, m, m))
    if len(given) > d:
        for c in range(k):
            v[c] = x @ np.linalg.solve((given.T * w[:, c]) @ given + precision * np.eye(d), x.T)
        return v
    prior, cross, own = x @ x.T / precision, x @ given.T / precision, given @ given.T / precision
    for c in range(k):
        noise = np.diag(1 / np.maximum(w[:, c], LEAST))
        v[c] = prior - cross @ np.linalg.solve(own + noise, cross.T)
    return v
